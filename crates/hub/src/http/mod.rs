//! The HTTP/JSON gateway: routes, who may call them, and how they fail.

mod access;
mod accounts;
mod blobs;
mod chunks;
mod content;
mod coupons;
mod downloads;
mod error;
mod extract;
mod feeds;
mod file_bytes;
mod file_views;
mod files;
mod inputs;
mod jobs;
mod links;
mod live;
mod market;
mod money;
mod order_stream;
mod orders;
mod page_html;
mod pages;
mod past;
mod proof;
mod results;
mod s3_keys;
mod sales;
mod spaces;
mod steps;
mod store;
mod submit;
mod system;
mod task_list;
mod tasks;
mod views;
mod webhooks;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
use pumasi_api::link::worker_link_server::WorkerLinkServer;
use pumasi_api::wire::files::MANY_BYTES;
use pumasi_api::wire::market::SalesBy;
use pumasi_cell::REQUEST_BYTES_MAX;
use utoipa::OpenApi;

pub(crate) use self::error::ApiError;
use self::extract::BodyMax;
pub(crate) use self::past::{PastError, look_up};
pub(crate) use self::views::order_state;
use crate::flight;
use crate::link::Gateway;
use crate::s3;
use crate::server::Hub;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// JSON bodies are this large at most; files come as blobs.
const BODY_BYTES: usize = 1 << 20;
/// JSON bodies with lists of orders, articles, stock or names.
const LIST_BYTES: usize = 4 << 20;
/// The largest gRPC message, from a worker or with orders.
pub(crate) const LINK_MESSAGE_BYTES: usize = 8 << 20;
// What a message or body becomes in the log is hardly longer than itself: hashes get shorter, numbers stay.
const _: () = assert!(BODY_BYTES <= LIST_BYTES && LIST_BYTES <= LINK_MESSAGE_BYTES);
const _: () = assert!(2 * LINK_MESSAGE_BYTES <= REQUEST_BYTES_MAX);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Pumasi hub",
        description = "One cloud made of everyone's machines. Authenticate with `Authorization: Bearer TOKEN`; give every \
                       changing request an `Idempotency-Key`, and sending it twice does it once.",
        license(name = "Apache-2.0")
    ),
    paths(
        system::hub,
        system::healthz,
        system::metrics,
        system::openapi,
        system::workers,
        system::books,
        accounts::me,
        accounts::open,
        accounts::open_customers,
        accounts::list,
        accounts::get,
        accounts::vouch,
        accounts::new_token,
        accounts::revoke_token,
        s3_keys::make,
        s3_keys::revoke,
        money::issue,
        money::transfer,
        money::hold,
        money::settle,
        money::release,
        money::statement,
        blobs::put,
        blobs::put_many,
        blobs::get,
        spaces::list,
        spaces::make,
        spaces::get,
        spaces::change,
        spaces::remove,
        spaces::set_member,
        spaces::remove_member,
        files::find,
        files::list,
        files::walk,
        files::put,
        files::make_folder,
        files::move_to,
        files::copy,
        files::remove,
        files::trash,
        files::restore,
        files::empty_trash,
        files::versions,
        files::revert,
        files::claim,
        file_bytes::read,
        file_bytes::read_many,
        file_bytes::put,
        links::list,
        links::make,
        links::remove,
        pages::get,
        pages::open,
        pages::raw,
        store::stats,
        store::spaces,
        store::collect,
        access::list,
        chunks::held,
        chunks::list,
        chunks::compose,
        chunks::join,
        chunks::challenge,
        chunks::prove,
        submit::submit,
        inputs::get,
        inputs::chunks,
        jobs::list,
        jobs::get,
        jobs::cancel,
        tasks::list,
        tasks::get,
        tasks::output,
        tasks::stdout,
        tasks::stderr,
        results::claim,
        results::put,
        proof::checkpoint,
        proof::tile,
        proof::info,
        proof::receipt,
        proof::log,
        market::get_market,
        market::set_market,
        market::get_shop,
        market::set_shop,
        live::live,
        market::list,
        market::put,
        market::get,
        market::change_stock,
        coupons::list,
        coupons::put,
        orders::place,
        orders::get,
        feeds::list_orders,
        feeds::read,
        sales::get,
        steps::pay,
        steps::allocate,
        steps::ship,
        steps::deliver,
        steps::scan,
        steps::complete,
        steps::cancel,
        steps::request_return,
        steps::accept_return,
        steps::refuse_return,
        steps::refund,
        steps::list,
        order_stream::stream,
        downloads::add,
        downloads::list,
        downloads::get,
        downloads::pause,
        downloads::resume,
        downloads::cancel,
        downloads::notices,
        downloads::see,
        webhooks::make,
        webhooks::list,
        webhooks::get,
        webhooks::change,
        webhooks::remove,
        webhooks::renew_secret,
        webhooks::dead,
        webhooks::replay,
    ),
    components(schemas(SalesBy))
)]
struct Document;

/// The OpenAPI 3.1 document of the HTTP API.
pub fn openapi_json() -> String {
    Document::openapi().to_pretty_json().expect("the document is made of plain values")
}

/// All routes, those of gRPC among them: the worker link and Arrow Flight.
pub(crate) fn router(hub: &Arc<Hub>) -> Router {
    let link = WorkerLinkServer::new(Gateway(Arc::clone(hub)))
        .max_decoding_message_size(LINK_MESSAGE_BYTES)
        .max_encoding_message_size(LINK_MESSAGE_BYTES);
    // What is nowhere is answered in one way.
    let services = tonic::service::Routes::new(link).add_service(flight::service(hub));
    let services = services.into_axum_router().reset_fallback();
    let blobs = Router::new()
        .route("/v1/blobs", post(blobs::put))
        .route("/v1/blobs/many", post(blobs::put_many))
        .route("/v1/blobs/{hash}", get(blobs::get))
        .layer(Extension(BodyMax(MANY_BYTES)));
    let chunks = Router::new()
        .route("/v1/blobs/composed", post(chunks::compose))
        .route("/v1/blobs/{hash}/chunks", get(chunks::list))
        .route("/v1/jobs/{job}/inputs/{hash}", get(inputs::get))
        .route("/v1/jobs/{job}/inputs/{hash}/chunks", get(inputs::chunks));
    let lists = Router::new()
        .route("/v1/blobs/joined", post(chunks::join))
        .route("/v1/orders", get(feeds::list_orders).post(orders::place))
        .route("/v1/orders/steps", post(steps::list))
        .route("/v1/articles", get(market::list).post(market::put))
        .route("/v1/coupons", get(coupons::list).put(coupons::put))
        .route("/v1/customers", post(accounts::open_customers))
        .route("/v1/stock", post(market::change_stock))
        .route("/v1/jobs/{job}/results", post(results::claim))
        .route("/v1/spaces/{space}/results", post(results::put))
        .route("/v1/spaces/{space}/files", get(files::list).post(files::put))
        .route("/v1/spaces/{space}/claim", post(files::claim))
        .route("/v1/spaces/{space}/read", post(file_bytes::read_many))
        .route("/v1/spaces/{space}/remove", post(files::remove))
        .layer(Extension(BodyMax(LIST_BYTES)));
    let api = Router::new()
        .route("/v1/hub", get(system::hub))
        .route("/healthz", get(system::healthz))
        .route("/metrics", get(system::metrics))
        .route("/openapi.json", get(system::openapi))
        .route("/v1/workers", get(system::workers))
        .route("/v1/books", get(system::books))
        .route("/v1/me", get(accounts::me))
        .route("/v1/accounts", get(accounts::list).post(accounts::open))
        .route("/v1/accounts/{account}", get(accounts::get))
        .route("/v1/accounts/{account}/vouch", post(accounts::vouch))
        .route("/v1/accounts/{account}/tokens", post(accounts::new_token))
        .route("/v1/tokens/revoke", post(accounts::revoke_token))
        .route("/v1/s3-keys", post(s3_keys::make))
        .route("/v1/s3-keys/revoke", post(s3_keys::revoke))
        .route("/v1/issue", post(money::issue))
        .route("/v1/transfers", post(money::transfer))
        .route("/v1/holds", post(money::hold))
        .route("/v1/holds/{hold}/settle", post(money::settle))
        .route("/v1/holds/{hold}/release", post(money::release))
        .route("/v1/statement", get(money::statement))
        .route("/v1/blobs/held", post(chunks::held))
        .route("/v1/blobs/{hash}/challenge", post(chunks::challenge))
        .route("/v1/blobs/{hash}/proof", post(chunks::prove))
        .route("/v1/jobs", get(jobs::list).post(submit::submit))
        .route("/v1/jobs/{job}", get(jobs::get))
        .route("/v1/jobs/{job}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{job}/tasks", get(tasks::list))
        .route("/v1/jobs/{job}/tasks/{task}", get(tasks::get))
        .route("/v1/jobs/{job}/tasks/{task}/output", get(tasks::output))
        .route("/v1/jobs/{job}/tasks/{task}/stdout", get(tasks::stdout))
        .route("/v1/jobs/{job}/tasks/{task}/stderr", get(tasks::stderr))
        .route("/v1/market", get(market::get_market).put(market::set_market))
        .route("/v1/market/live", get(live::live))
        .route("/v1/shop", get(market::get_shop).put(market::set_shop))
        .route("/v1/articles/{article}", get(market::get))
        .route("/v1/orders/{order}", get(orders::get))
        .route("/v1/feeds/{party}", get(feeds::read))
        .route("/v1/sales", get(sales::get))
        .route("/v1/orders/{order}/pay", post(steps::pay))
        .route("/v1/orders/{order}/allocate", post(steps::allocate))
        .route("/v1/orders/{order}/ship", post(steps::ship))
        .route("/v1/orders/{order}/deliver", post(steps::deliver))
        .route("/v1/orders/{order}/scan", post(steps::scan))
        .route("/v1/orders/{order}/complete", post(steps::complete))
        .route("/v1/orders/{order}/cancel", post(steps::cancel))
        .route("/v1/orders/{order}/return", post(steps::request_return))
        .route("/v1/orders/{order}/accept-return", post(steps::accept_return))
        .route("/v1/orders/{order}/refuse-return", post(steps::refuse_return))
        .route("/v1/orders/{order}/refund", post(steps::refund))
        .route("/v1/orders/stream", post(order_stream::stream))
        .route("/v1/downloads", get(downloads::list).post(downloads::add))
        .route("/v1/downloads/notices", get(downloads::notices))
        .route("/v1/downloads/notices/seen", post(downloads::see))
        .route("/v1/downloads/{download}", get(downloads::get).delete(downloads::cancel))
        .route("/v1/downloads/{download}/pause", post(downloads::pause))
        .route("/v1/downloads/{download}/resume", post(downloads::resume))
        .route("/v1/webhooks", get(webhooks::list).post(webhooks::make))
        .route("/v1/webhooks/{webhook}", get(webhooks::get).put(webhooks::change).delete(webhooks::remove))
        .route("/v1/webhooks/{webhook}/secret", post(webhooks::renew_secret))
        .route("/v1/webhooks/{webhook}/dead", get(webhooks::dead))
        .route("/v1/webhooks/{webhook}/replay", post(webhooks::replay))
        .merge(spaces())
        .route("/checkpoint", get(proof::checkpoint))
        .route("/tile/{*path}", get(proof::tile))
        .route("/v1/proof", get(proof::info))
        .route("/v1/receipts/{transfer}", get(proof::receipt))
        .route("/v1/log", get(proof::log))
        .layer(Extension(BodyMax(BODY_BYTES)))
        .merge(blobs)
        .merge(chunks)
        .merge(lists)
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(middleware::from_fn_with_state(Arc::clone(hub), crate::access::watch))
        .layer(middleware::from_fn_with_state(s3::Gate::new(hub), s3::divert))
        .layer(middleware::from_fn_with_state(Arc::clone(hub), count))
        .with_state(Arc::clone(hub));
    api.merge(services)
}

/// Routes of spaces, files and links.
fn spaces() -> Router<Arc<Hub>> {
    Router::new()
        .route("/v1/spaces", get(spaces::list).post(spaces::make))
        .route("/v1/spaces/{space}", get(spaces::get).put(spaces::change).delete(spaces::remove))
        .route("/v1/spaces/{space}/members/{account}", put(spaces::set_member).delete(spaces::remove_member))
        .route("/v1/spaces/{space}/file", get(files::find))
        .route("/v1/spaces/{space}/walk", get(files::walk))
        .route("/v1/spaces/{space}/content", get(file_bytes::read).put(file_bytes::put))
        .route("/v1/spaces/{space}/folders", post(files::make_folder))
        .route("/v1/spaces/{space}/move", post(files::move_to))
        .route("/v1/spaces/{space}/copy", post(files::copy))
        .route("/v1/spaces/{space}/trash", get(files::trash))
        .route("/v1/spaces/{space}/trash/restore", post(files::restore))
        .route("/v1/spaces/{space}/trash/empty", post(files::empty_trash))
        .route("/v1/spaces/{space}/versions", get(files::versions))
        .route("/v1/spaces/{space}/revert", post(files::revert))
        .route("/v1/spaces/{space}/links", get(links::list).post(links::make))
        .route("/v1/spaces/{space}/links/{link}", delete(links::remove))
        .route("/s/{secret}", get(pages::get).post(pages::open))
        .route("/s/{secret}/raw", get(pages::raw))
        .route("/v1/store", get(store::stats))
        .route("/v1/store/spaces", get(store::spaces))
        .route("/v1/store/collect", post(store::collect))
        .route("/v1/store/access", get(access::list))
}

/// Counts requests, and logs them at debug level.
async fn count(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let line = tracing::enabled!(tracing::Level::DEBUG)
        .then(|| format!("{} {}", request.method(), pages::without_secret(request.uri().path())));
    let response = next.run(request).await;
    let took = started.elapsed();
    hub.metrics.request(response.status().as_u16(), took);
    if let Some(line) = line {
        tracing::debug!(status = response.status().as_u16(), ms = took.as_millis() as u64, "{line}");
    }
    response
}

/// How long a request may wait for a job at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Waits for a job, the asked time at most.
async fn wait_for_job(hub: &Hub, job: pumasi_types::JobId, wait_ms: Option<u64>) -> Result<(), ApiError> {
    let Some(wait) = wait_ms.map(Duration::from_millis).filter(|wait| !wait.is_zero()) else { return Ok(()) };
    tokio::select! {
        over = hub.cell.job_over(job) => over?,
        () = tokio::time::sleep(wait.min(WAIT_MAX)) => {}
        () = hub.stopping() => {}
    }
    Ok(())
}
