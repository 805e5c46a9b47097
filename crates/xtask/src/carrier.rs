//! A carrier: takes parcels along, reports where they are, and delivers them, through the public API alone.
//!
//! All that it knows it reads from its feed, its own reports among it, so it can be ended and started at any time: it goes
//! on where each parcel is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use pumasi_api::client::{ClientError, HubClient, Token};
use pumasi_api::tls::{Fingerprint, HubAddress, Pin};
use pumasi_api::wire::market::{EVENTS_MAX, Feed, FeedEvent, OrderStepped, ScanParcel};
use pumasi_types::{EventId, OrderId, ParcelId, RequestId};

use crate::Outcome;
use crate::pool::block_on;

/// What happens to a parcel within a country, and how many hours after what came before.
const HOME: &[(&str, u64)] = &[("EMA", 2), ("EDD", 6), ("EDE", 3), ("EMG", 8), ("EDG", 2), ("EMI", 3)];
/// The same when nobody opens the door at first.
const TWICE: &[(&str, u64)] =
    &[("EMA", 2), ("EDE", 9), ("EMG", 8), ("EDG", 2), ("EMH", 3), ("EDG", 21), ("EMI", 3)];
/// The same to another country.
const ABROAD: &[(&str, u64)] = &[
    ("EMA", 2),
    ("EMB", 10),
    ("EXA", 2),
    ("EXC", 4),
    ("EMC", 6),
    ("EMD", 30),
    ("EDB", 1),
    ("EME", 5),
    ("EDC", 20),
    ("EMF", 2),
    ("EMG", 12),
    ("EDG", 3),
    ("EMI", 3),
];
/// Reports that are sent at once.
const AT_ONCE: usize = 16;
/// How long the hub may be away before the next try.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Options {
    /// The hub, like https://127.0.0.1:7878
    #[arg(long)]
    hub: HubAddress,
    /// A file with the token of an account that has the role carrier
    #[arg(long)]
    token_file: PathBuf,
    /// The hub's certificate; the first that is seen is trusted when absent
    #[arg(long)]
    fingerprint: Option<Fingerprint>,
    /// How many times faster than real carriers: 3600 makes a second of an hour
    #[arg(long, default_value_t = 3600)]
    speed: u64,
    /// End after so many parcels were delivered; by default it goes on for ever
    #[arg(long)]
    parcels: Option<u64>,
}

pub(crate) fn run(options: &Options) -> Outcome {
    let token: Token = std::fs::read_to_string(&options.token_file)?.trim().parse()?;
    let pin = options.fingerprint.map_or_else(Pin::learn, Pin::Known);
    let client = HubClient::new(options.hub.clone(), pin, Some(token));
    let mut carrier = Carrier::new(client, options.speed);
    block_on(async {
        while options.parcels.is_none_or(|most| carrier.delivered < most) {
            carrier.go_on().await?;
        }
        println!("{} parcels delivered", carrier.delivered);
        Ok(())
    })
}

/// A parcel that is under way.
struct Parcel {
    route: &'static [(&'static str, u64)],
    /// How many of its stops were reported.
    stops: usize,
    /// How many of these reports came back in the feed.
    seen: usize,
    /// When the next is.
    due: Instant,
}

/// A carrier at work.
pub(crate) struct Carrier {
    client: HubClient,
    speed: u64,
    after: EventId,
    parcels: BTreeMap<(OrderId, ParcelId), Parcel>,
    /// How many parcels arrived.
    pub(crate) delivered: u64,
}

/// What became of a report.
enum Reported {
    /// It was taken.
    Yes,
    /// It is not wanted any more.
    Over(String),
    /// The hub was away.
    Later,
}

impl Carrier {
    pub(crate) fn new(client: HubClient, speed: u64) -> Carrier {
        let speed = speed.max(1);
        Carrier { client, speed, after: EventId(0), parcels: BTreeMap::new(), delivered: 0 }
    }

    /// Reads what is new and reports what is due; waits for either.
    pub(crate) async fn go_on(&mut self) -> Outcome {
        let now = Instant::now();
        let due: Vec<_> =
            self.parcels.iter().filter(|(_, parcel)| parcel.due <= now).map(|(id, _)| *id).collect();
        if !due.is_empty() {
            return self.report(&due).await;
        }
        let next = self.parcels.values().map(|parcel| parcel.due).min();
        let wait = next.map_or(Duration::from_secs(5), |next| next - now);
        // Whole seconds only; what is due sooner is waited for here.
        let path = format!(
            "/v1/feeds/carrier?after={}&limit={EVENTS_MAX}&wait_s={}",
            self.after,
            wait.as_secs().min(5)
        );
        match self.client.get::<Feed>(&path).await {
            Ok(feed) => {
                feed.events.iter().for_each(|event| self.learn(event));
                self.after = feed.next;
                if feed.events.is_empty() {
                    tokio::time::sleep(wait.min(PAUSE)).await;
                }
                Ok(())
            }
            Err(error) => self.later(error).await,
        }
    }

    /// A hub that is away comes back; what it refuses is a mistake of ours.
    async fn later(&self, error: ClientError) -> Outcome {
        match error {
            ClientError::Refused { status, .. } if !status.is_server_error() && status.as_u16() != 429 => {
                Err(error.into())
            }
            _ => {
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
        }
    }

    /// Follows its own feed.
    fn learn(&mut self, event: &FeedEvent) {
        let Some(number) = event.parcel else { return };
        let id = (event.order, number);
        match event.kind.as_str() {
            "order.shipped" => {
                let route = route(event.order, number);
                let due = Instant::now() + self.hours(route[0].1);
                self.parcels.insert(id, Parcel { route, stops: 0, seen: 0, due });
            }
            "order.delivered" => {
                self.parcels.remove(&id);
                self.delivered += 1;
            }
            _ => {
                let speed = self.speed;
                let Some(parcel) = self.parcels.get_mut(&id) else { return };
                parcel.seen += 1;
                // What it reported before it was started anew.
                if parcel.seen > parcel.stops {
                    parcel.stops = parcel.seen;
                    let hours = parcel.route.get(parcel.stops).map_or(0, |(_, hours)| *hours);
                    parcel.due = Instant::now() + span(hours, speed);
                }
            }
        }
    }

    fn hours(&self, hours: u64) -> Duration {
        span(hours, self.speed)
    }

    /// Reports the next stop of some parcels. The feed tells that they were taken.
    async fn report(&mut self, due: &[(OrderId, ParcelId)]) -> Outcome {
        for some in due.chunks(AT_ONCE) {
            let reports = some.iter().map(|id| self.report_one(*id, &self.parcels[id]));
            let reported = join_all(reports).await;
            for (id, reported) in some.iter().zip(reported) {
                match reported? {
                    Reported::Yes => self.moved(*id),
                    Reported::Over(why) => {
                        println!("order {} parcel {}: {why}", id.0, id.1);
                        self.parcels.remove(id);
                    }
                    Reported::Later => tokio::time::sleep(PAUSE).await,
                }
            }
        }
        Ok(())
    }

    /// A report was taken.
    fn moved(&mut self, id: (OrderId, ParcelId)) {
        let speed = self.speed;
        let Some(parcel) = self.parcels.get_mut(&id) else { return };
        println!("order {} parcel {}: {}", id.0, id.1, parcel.route[parcel.stops].0);
        parcel.stops += 1;
        match parcel.route.get(parcel.stops) {
            Some((_, hours)) => parcel.due = Instant::now() + span(*hours, speed),
            // The feed says that it was delivered; until then nothing is due.
            None => parcel.due = Instant::now() + Duration::from_secs(3600),
        }
    }

    async fn report_one(&self, (order, number): (OrderId, ParcelId), parcel: &Parcel) -> Outcome<Reported> {
        let Some((code, _)) = parcel.route.get(parcel.stops) else { return Ok(Reported::Yes) };
        let body = ScanParcel { parcel: number, code: (*code).to_owned() };
        // The same report has the same id, so that one whose answer was lost counts once.
        let id = u128::from(order.0) << 64 | u128::from(number.0) << 32 | parcel.stops as u128;
        let path = format!("/v1/orders/{order}/scan");
        match self.client.post::<_, OrderStepped>(&path, &body, Some(RequestId(id))).await {
            Ok(_) => Ok(Reported::Yes),
            Err(ClientError::Refused { status, ref body, .. }) if matches!(status.as_u16(), 404 | 409) => {
                Ok(Reported::Over(body.message.clone()))
            }
            Err(error) => self.later(error).await.map(|()| Reported::Later),
        }
    }
}

/// The way of a parcel: most stay in the country, an eighth are brought twice, an eighth go abroad.
fn route(order: OrderId, parcel: ParcelId) -> &'static [(&'static str, u64)] {
    match (order.0 + u64::from(parcel.0)) % 8 {
        3 => TWICE,
        6 => ABROAD,
        _ => HOME,
    }
}

fn span(hours: u64, speed: u64) -> Duration {
    Duration::from_millis(hours * 3_600_000 / speed)
}
