//! HTTP/2 frames (RFC 9113) and gRPC messages as bytes, so that they can be wrong.

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// What a client begins with: the preface and its settings, all as by default.
pub(super) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// What a greeting is answered with.
pub(super) const GREETED: &[u8; 8] = b"greeted!";

/// Takes the other side's settings as they are, and asks whether it knows that (RFC 9113, sections 6.5.3 and
/// 6.7). From then on its windows are as wide as they get.
pub(super) fn greeting() -> Vec<u8> {
    const ACK: u8 = 1;
    [frame(SETTINGS, ACK, 0, &[]), frame(PING, 0, 0, GREETED)].concat()
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field, literal and not indexed (RFC 7541, section 6.2.2); both parts shorter than 127 bytes.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

fn get() -> Vec<u8> {
    [
        field(":method", "GET"),
        field(":scheme", "http"),
        field(":path", "/openapi.json"),
        field(":authority", "h"),
    ]
    .concat()
}

/// A whole request for a document.
pub(super) fn get_document() -> Vec<u8> {
    frame(HEADERS, END_HEADERS | 1, 1, &get())
}

/// Floods and lies of which each took some server down once.
pub(super) fn attacks() -> Vec<Vec<u8>> {
    let many = |each: &dyn Fn(u32) -> Vec<u8>, count: u32| {
        (0..count).fold(preface(), |mut bytes, n| {
            bytes.extend(each(n));
            bytes
        })
    };
    let stream = |n: u32| 2 * n + 1;
    // CVE-2024-27316: header blocks without end.
    let endless = many(&|n| frame(if n == 0 { HEADERS } else { CONTINUATION }, 0, 1, &[0; 16_000]), 2000);
    // CVE-2023-44487: requests that are taken back at once.
    let reset = many(
        &|n| {
            [frame(HEADERS, END_HEADERS, stream(n), &get()), frame(RST_STREAM, 0, stream(n), &[0, 0, 0, 8])]
                .concat()
        },
        20_000,
    );
    // CVE-2019-9512 and -9515: answers are demanded that nobody reads.
    let pings = many(&|n| frame(PING, 0, 0, &u64::from(n).to_be_bytes()), 200_000);
    let settings = many(&|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]), 100_000);
    // CVE-2019-9517: much is asked for and no window given.
    let closed = [preface(), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat();
    let unread = (0..5000).fold(closed, |mut bytes, n| {
        bytes.extend(frame(HEADERS, END_HEADERS | 1, stream(n), &get()));
        bytes
    });
    let window = [preface(), frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(3)].concat();
    let none = [preface(), frame(WINDOW_UPDATE, 0, 1, &[0; 4]), frame(DATA, 0, 99, &[1; 100])].concat();
    // A field that is put into the table once and named thousands of times (RFC 7541, section 7.3).
    let large = [&[0x40, 1, b'x', 0x7f, 0x81, 0x1e][..], &[b'y'; 4000]].concat();
    let bomb = [large, vec![0xbe; 12_000]].concat();
    let bombs = many(&|n| frame(HEADERS, END_HEADERS | 1, stream(n), &bomb), 200);
    // The largest length that a frame can claim.
    let lie = [preface(), vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1], vec![0; 1 << 20]].concat();
    vec![endless, reset, pings, settings, unread, window, none, bombs, lie]
}

/// The head of a worker's stream.
pub(super) struct Attach {
    pub(super) token: String,
}

impl Attach {
    /// The head of a stream, and what is sent on it.
    pub(super) fn with(&self, stream: u32, data: &[u8]) -> Vec<u8> {
        let head = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", "/pumasi.worker.v1.WorkerLink/Attach"),
            field(":authority", "hub"),
            field("content-type", "application/grpc"),
            field("te", "trailers"),
            field("authorization", &format!("Bearer {}", self.token)),
        ]
        .concat();
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &head);
        for piece in data.chunks(16 << 10) {
            bytes.extend(frame(DATA, 0, stream, piece));
        }
        bytes
    }
}

/// A gRPC message: whether it is compressed, how long it says it is, and what it is.
fn message(compressed: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[compressed], &length.to_be_bytes()[..], bytes].concat()
}

/// A message of the length it says.
fn whole(bytes: &[u8]) -> Vec<u8> {
    message(0, bytes.len() as u32, bytes)
}

/// Protobuf (and its frame) as it should not be.
pub(super) fn lying_messages() -> Vec<Vec<u8>> {
    let varint_max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    // Field 1 of FromWorker is Hello, whose field 8 is the packed list of held runs.
    let list = |length: &[u8]| [&[0x0a, 0x0c, 0x42][..], length, &[1; 4]].concat();
    let nested = (0..100_000).fold(Vec::new(), |mut bytes: Vec<u8>, _| {
        bytes.push(0x0b);
        bytes
    });
    vec![
        message(0, u32::MAX, b"short"),
        message(0, (8 << 20) + 1, b"short"),
        message(0, 100, b"short"),
        message(1, 5, b"short"),
        message(0xff, 5, b"short"),
        message(0, 0, b""),
        whole(&varint_max),
        whole(&[0xff; 200]),
        whole(&[[0x0a].as_slice(), &varint_max].concat()),
        whole(&list(&varint_max)),
        // 2^32 runs, as a list that is not there.
        whole(&list(&[0x80, 0x80, 0x80, 0x80, 0x10])),
        whole(&nested),
        whole(&[[0x12].as_slice(), &varint_max, &[0; 100]].concat()),
        whole(&vec![0x08; 1 << 20]),
        // A name that is not UTF-8.
        whole(&[0x0a, 0x04, 0x12, 0x02, 0xff, 0xfe]),
    ]
}
