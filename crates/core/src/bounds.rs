//! The largest things that a command may ask for; beyond them it is refused.

use pumasi_types::{Amount, ByteSize, Duration};

/// Upper bounds of what clients may send, so that no request can make the state grow without limit.
#[derive(Debug)]
pub struct Bounds;

impl Bounds {
    /// Tasks of one job.
    pub const TASKS: u32 = 16_000_000;
    /// Jobs of one account that are not over: workers pass by those that do not suit them one by one.
    pub const JOBS: u32 = 10_000;
    /// Bytes of an account, job, worker or file name.
    pub const NAME_BYTES: usize = 200;
    /// Arguments, environment entries or shared input files of a job.
    pub const LIST: usize = 1_000;
    /// Bytes of all arguments and environment entries of a job together.
    pub const TEXT_BYTES: usize = 128 * 1024;
    /// Independent owners that can be asked to agree on one result.
    pub const QUORUM: u8 = 7;
    /// Jobs that one job can wait for.
    pub const DEPENDENCIES: usize = 1_000;
    /// Cores of one worker.
    pub const CORES: u32 = 4_096;
    /// Runs in one report, and runs named by one message of a worker.
    pub const RUNS: usize = 100_000;
    /// Memory that one run may be given: all of a 32-bit WebAssembly memory.
    pub const RUN_MEMORY: ByteSize = ByteSize(4 << 30);
    /// Bytes of output that one run may be given.
    pub const RUN_OUTPUT: ByteSize = ByteSize(1 << 30);
    /// Wall-clock time that one run may be given.
    pub const RUN_WALL: Duration = Duration::from_secs(30 * 24 * 3600);
    /// How long a request id is remembered, in log time, counting [`Bounds::REQUEST_GAP`] at most.
    pub const REQUEST_MEMORY: Duration = Duration::from_secs(48 * 3600);
    /// What the time between two entries counts for [`Bounds::REQUEST_MEMORY`] at most, so that a clock that
    /// leaps ahead, or a hub that was down for days, does not forget what a client is about to ask again.
    pub const REQUEST_GAP: Duration = Duration::from_secs(60);
    /// How long a finished job stays readable, in log time.
    pub const JOB_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
    /// How long a worker that is away is remembered at least, in log time.
    pub const WORKER_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
    /// The same for one that never delivered anything.
    pub const STRANGER_MEMORY: Duration = Duration::from_secs(3600);
    /// How far ahead an expiry or deadline may lie.
    pub const HORIZON: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
    /// Accounts of a cell.
    pub const ACCOUNTS: usize = 500_000_000;
    /// Accounts that are opened by one command.
    pub const CUSTOMERS: usize = 10_000;
    /// What an article costs at most, in minor units.
    pub const PRICE: Amount = Amount(1_000_000_000_000);
    /// How many of an article one order can have.
    pub const QUANTITY: u32 = 1_000_000;
    /// How many of an article one place can have.
    pub const STOCK: u32 = 2_000_000_000;
    /// Places where one article lies.
    pub const PLACES: usize = 10_000;
    /// How many of its places are looked at for an order that wants none of them.
    pub const PLACES_LOOKED_AT: usize = 64;
    /// Orders that are remembered of one caller that is no storefront, also refused ones, in [`Bounds::REQUEST_MEMORY`].
    pub const ORDERS_EACH: usize = 100_000;
    /// Articles of all merchants of a cell.
    pub const ARTICLES: usize = 100_000_000;
    /// How long stock can be reserved for an order that is not paid, in log time.
    pub const RESERVATION: Duration = Duration::from_secs(30 * 24 * 3600);
    /// When what is not shipped of an order is given up, since it was allocated or its last parcel was sent: its customer
    /// cannot cancel it any more, and its money is set aside; in log time.
    pub const SHIPPING: Duration = Duration::from_secs(30 * 24 * 3600);
    /// After how long that is tried again when its merchant had not the money to give back, in log time.
    pub const SHIPPING_AGAIN: Duration = Duration::from_secs(24 * 3600);
    /// When an order is taken to have arrived, whose parcels nobody said to be delivered, since the last was sent; in log
    /// time.
    pub const ARRIVAL: Duration = Duration::from_secs(30 * 24 * 3600);
    /// How long an order can wait to be completed by itself, and how long it can be returned, in log time.
    pub const AFTER_SALES: Duration = Duration::from_secs(366 * 24 * 3600);
    /// Coupons and promotions of all merchants of a cell.
    pub const COUPONS: usize = 100_000;
    /// Those of one merchant.
    pub const COUPONS_EACH: usize = 10_000;
    /// Articles that one coupon names.
    pub const COUPON_ARTICLES: usize = 1_000;
    /// Promotions of one merchant that are not over: each of its orders looks at all of them.
    pub const PROMOTIONS: usize = 32;
    /// How long a coupon and who used it are remembered after it is over, in log time.
    pub const COUPON_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
    /// Parcels of one order.
    pub const PARCELS: usize = 255;
    /// Lines of all parcels of one order together.
    pub const PARCEL_LINES: usize = 1_024;
    /// Bytes of a parcel's tracking text.
    pub const TRACKING_BYTES: usize = 64;
    /// Webhooks of one account.
    pub const WEBHOOKS: usize = 8;
    /// Bytes of a webhook's URL.
    pub const URL_BYTES: usize = 500;
    /// Events of one webhook that wait to be tried again; it is sent nothing new while there are so many.
    pub const LETTERS: usize = 1_000;
    /// Events of one webhook that were given up; it is disabled when there are so many.
    pub const DEAD_LETTERS: usize = 1_000;
    /// How long a webhook may take nothing before it is disabled, in log time.
    pub const WEBHOOK_PATIENCE: Duration = Duration::from_secs(5 * 24 * 3600);
    /// How long the secret before a new one signs as well, in log time.
    pub const OLD_SECRET: Duration = Duration::from_secs(24 * 3600);
    /// Files that one command names.
    pub const FILES: usize = 1_000;
    /// Files and folders that are copied at once.
    pub const COPIED: u64 = 10_000;
    /// Bytes of what files that are copied at once say of themselves.
    pub const COPIED_ABOUT: u64 = 8 << 20;
    /// Names that are tried for files of one command whose own are taken.
    pub const NAMES_TRIED: usize = 16 * Bounds::FILES;
    /// Parts of an upload.
    pub const PARTS: u16 = 10_000;
    /// How long a claim of a blob lasts, in log time.
    pub const CLAIM: Duration = Duration::from_secs(48 * 3600);
    /// Bytes of names and values that a file's [`About`](crate::About) has.
    pub const ABOUT_BYTES: usize = 8 * 1024;
    /// Spaces of which one account is the maker.
    pub const SPACES: usize = 1_000;
    /// Bytes that a new space may hold.
    pub const QUOTA: ByteSize = ByteSize(100 << 30);
    /// Older versions of a file.
    pub const VERSIONS: usize = 100;
    /// Links in a space.
    pub const LINKS: usize = 10_000;
    /// Uploads in a space that are not finished.
    pub const UPLOADS: usize = 1_000;
    /// How long an upload lies idle before it is given up.
    pub const UPLOAD_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);
    /// Downloads of an account that are not over.
    pub const DOWNLOADS: usize = 1_000;
    /// Downloads of an account that are over and remembered: the one that was over first is forgotten for one more.
    pub const DOWNLOADS_OVER: usize = 10_000;
    /// How long a download that is over is remembered.
    pub const DOWNLOAD_MEMORY: Duration = Duration::from_secs(30 * 24 * 3600);
    /// Files and folders in all spaces that one account makes, their trash included: a cell keeps them in memory.
    pub const THINGS: u64 = 20_000_000;
    /// Bytes of what all contents of files there say of themselves.
    pub const ABOUT_EACH: u64 = 4 << 30;
    /// Members of a space.
    pub const MEMBERS: usize = 10_000;
    /// Makers of an account's spaces that are asked whether they have bytes that it need not send.
    pub const GROUP: usize = 10_000;
    /// How long bytes stay that were claimed, after the claim ended, so that a collection that began before misses nothing.
    pub const CLAIM_ROOT: Duration = Duration::from_secs(24 * 3600);
    /// Bytes of what stands for a link's password.
    pub const PASSWORD_BYTES: usize = 1_000;
    /// Bytes of where a download comes from: a magnet link names many trackers.
    pub const SOURCE_BYTES: usize = 16 * 1024;
    /// How often a download is tried that may work later, before it is given up.
    pub const DOWNLOAD_TRIES: u32 = 20;
    /// How long a download waits after its first failure; twice as long after each further one.
    pub const DOWNLOAD_AGAIN: Duration = Duration::from_secs(30);
    /// The longest that it waits.
    pub const DOWNLOAD_PAUSE: Duration = Duration::from_secs(3600);
}
