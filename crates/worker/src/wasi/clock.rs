//! Time and chance that are the same on every machine.

use pumasi_types::TaskIndex;

use super::abi::{Answer, Errno, Record};
use super::{Call, ENTRY_FUEL, Guest};

/// Size of a `subscription`, in bytes.
const SUBSCRIPTION_LEN: u32 = 48;
/// Size of an `event`, in bytes.
const EVENT_LEN: u32 = 32;
/// Bit of `subclockflags`: the timeout is a moment, not a span.
const ABSTIME: u16 = 1;

const TAG_CLOCK: u8 = 0;
const TAG_FD_READ: u8 = 1;
const TAG_FD_WRITE: u8 = 2;

/// Clocks: realtime, monotonic, CPU time of process and of thread.
const CLOCKS: u32 = 4;

pub(super) fn resolution(call: &mut Call<'_>, id: u32, to: u32) -> Answer {
    if id >= CLOCKS {
        return Err(Errno::Inval.into());
    }
    Ok(call.memory.put_u64(to, 1)?)
}

pub(super) fn time(call: &mut Call<'_>, id: u32, to: u32) -> Answer {
    Ok(call.memory.put_u64(to, read(call.guest, id)?)?)
}

/// What a clock shows, in nanoseconds; monotonic and CPU clocks start at 0 with the run.
fn read(guest: &Guest, id: u32) -> Result<u64, Errno> {
    match id {
        0 => Ok(guest.now()),
        1 => Ok(guest.now() - guest.spec.clock.0),
        2 | 3 => Ok(guest.now() - guest.spec.clock.0 - guest.slept),
        _ => Err(Errno::Inval),
    }
}

/// A stream of random bytes: BLAKE3's extendable output of seed and task index.
pub(super) struct Random(blake3::OutputReader);

impl Random {
    fn new(seed: u64, task: TaskIndex) -> Random {
        let mut hasher = blake3::Hasher::new_derive_key("pumasi 2026 random_get of seed and task index v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&u64::from(task.0).to_le_bytes());
        Random(hasher.finalize_xof())
    }
}

pub(super) fn random(call: &mut Call<'_>, to: u32, len: u32) -> Answer {
    let bytes = call.memory.bytes_mut(to, len)?;
    // One fuel a byte: drawing costs about as much as a step of the guest.
    call.guest.spend(u64::from(len))?;
    let (seed, task) = (call.guest.spec.seed, call.guest.spec.task);
    call.guest.random.get_or_insert_with(|| Random::new(seed, task)).0.fill(bytes);
    Ok(())
}

/// One thing that a guest waits for.
struct Subscription {
    user_data: [u8; 8],
    tag: u8,
    /// Nanoseconds from now, for clocks.
    wait: u64,
    /// Why it cannot be waited for.
    error: Option<Errno>,
}

fn subscription(call: &Call<'_>, at: u32) -> Answer<Subscription> {
    let record: [u8; SUBSCRIPTION_LEN as usize] =
        call.memory.bytes(at, SUBSCRIPTION_LEN)?.try_into().expect("its length");
    let long = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().expect("eight bytes"));
    let id = u32::from_le_bytes(record[16..20].try_into().expect("four bytes"));
    let (tag, flags) = (record[8], u16::from_le_bytes([record[40], record[41]]));
    let (wait, error) = match tag {
        TAG_CLOCK => match read(call.guest, id) {
            Ok(now) if flags & ABSTIME != 0 => (long(24).saturating_sub(now), None),
            Ok(_) => (long(24), None),
            Err(error) => (0, Some(error)),
        },
        TAG_FD_READ | TAG_FD_WRITE => (0, call.guest.fds.get(id).err()),
        _ => return Err(Errno::Inval.into()),
    };
    Ok(Subscription { user_data: record[..8].try_into().expect("eight bytes"), tag, wait, error })
}

/// `poll_oneoff`: files are always ready; clocks are waited for by advancing the guest's time.
pub(super) fn poll(call: &mut Call<'_>, subscriptions: u32, events: u32, count: u32, to: u32) -> Answer {
    if count == 0 {
        return Err(Errno::Inval.into());
    }
    call.guest.spend(u64::from(count) * 2 * ENTRY_FUEL)?;
    let at = |start: u32, n: u32, len: u32| {
        n.checked_mul(len).and_then(|offset| start.checked_add(offset)).ok_or(Errno::Fault)
    };
    let mut earliest = u64::MAX;
    for n in 0..count {
        earliest = earliest.min(subscription(call, at(subscriptions, n, SUBSCRIPTION_LEN)?)?.wait);
    }
    let mut stored = 0;
    for n in 0..count {
        let subscription = subscription(call, at(subscriptions, n, SUBSCRIPTION_LEN)?)?;
        if subscription.wait <= earliest {
            let error = subscription.error.map_or(0, |error| error as u16);
            let event = Record::<{ EVENT_LEN as usize }>::new()
                .with(0, subscription.user_data)
                .with(8, error.to_le_bytes())
                .with(10, [subscription.tag])
                .with(16, u64::from(subscription.tag != TAG_CLOCK).to_le_bytes());
            call.memory.put(at(events, stored, EVENT_LEN)?, &event.0)?;
            stored += 1;
        }
    }
    call.memory.put_u32(to, stored)?;
    // Nobody sleeps beyond the end of time, where every clock stands still.
    let end = u64::MAX - call.guest.spec.clock.0;
    call.guest.slept = call.guest.slept.saturating_add(earliest).min(end);
    Ok(())
}
