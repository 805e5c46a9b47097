//! Arrow Flight: orders in record batches, answers in record batches, articles to order by, events and orders to keep.
//!
//! The next batch is read and turned into orders while the last ones become durable; answers go out in order. A client
//! that does not read its answers is not read from either, and messages wait until there is room for what they become.

mod export;
mod reader;
mod tables;

use std::pin::{Pin, pin};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::utils::batches_to_flight_data;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{ArrowError, SchemaRef};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use pumasi_types::{AccountId, ArticleId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub use self::reader::{BadOrders, OrderReader};

use self::export::Export;
use crate::error::fault;
use crate::http::{LINK_MESSAGE_BYTES, Peer};
use crate::limits::Share;
use crate::link::{denied, unavailable};
use crate::orders::{Placing, PlacingError};
use crate::server::Hub;
use crate::session::Session;

/// Batches of one stream that wait for their answers at most.
const PIPELINE: usize = 4;
/// Articles in one batch.
const ARTICLES: usize = 4096;

/// A batch that was handed over.
struct Pending {
    placing: Placing,
    /// The room that it takes until its answers are taken.
    in_hand: OwnedSemaphorePermit,
}

/// The gRPC service.
pub(crate) struct Gateway(Arc<Hub>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service, with bounds on what it reads.
pub(crate) fn service(hub: &Arc<Hub>) -> FlightServiceServer<Gateway> {
    FlightServiceServer::new(Gateway(Arc::clone(hub)))
        .max_decoding_message_size(LINK_MESSAGE_BYTES)
        .max_encoding_message_size(LINK_MESSAGE_BYTES)
}

/// What there is: its name, and what it is made of.
fn flights() -> [(&'static str, &'static SchemaRef); 3] {
    [("orders", &tables::ORDERS), ("articles", &tables::ARTICLES), ("events", &export::EVENTS)]
}

fn schema_of(name: Option<&str>) -> Result<(&'static str, &'static SchemaRef), Status> {
    let found = flights().into_iter().find(|(known, _)| Some(*known) == name);
    found.ok_or_else(|| {
        Status::not_found("there is `orders`, to put, exchange or get, `articles` and `events`, to get")
    })
}

/// What a descriptor names: its only path segment, or its command.
fn name_of(descriptor: &FlightDescriptor) -> Option<&str> {
    match &descriptor.path[..] {
        [name] => Some(name),
        _ => std::str::from_utf8(&descriptor.cmd).ok(),
    }
}

fn info(name: &str, schema: &SchemaRef) -> Result<FlightInfo, Status> {
    let mut info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(internal)?
        .with_descriptor(FlightDescriptor::new_path(vec![name.to_owned()]))
        .with_total_records(-1)
        .with_total_bytes(-1);
    // What is got as `orders` has another schema than what is put.
    if name != "orders" {
        info = info.with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(name.to_owned())));
    }
    Ok(info)
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(fault("do that", &error))
}

fn placing(error: PlacingError) -> Status {
    match error {
        PlacingError::Cell(error) => unavailable(error),
        strange @ PlacingError::Strange(_) => internal(strange),
    }
}

/// Tables as messages, the schema first; one for each table, also for one without rows.
fn encode<S>(schema: &'static SchemaRef, tables: S) -> Answers<FlightData>
where
    S: Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
{
    let first = FlightData::from(SchemaAsIpc::new(schema, &IpcWriteOptions::default()));
    let message = move |table: Result<RecordBatch, Status>| {
        // None of these tables has dictionaries.
        let messages = batches_to_flight_data(schema, [&table?]).map_err(internal)?;
        messages.into_iter().next_back().ok_or_else(|| internal("a table without a message"))
    };
    Box::pin(stream::once(async { Ok(first) }).chain(tables.map(message)))
}

impl Gateway {
    async fn session<T>(&self, request: &Request<T>) -> Result<Session, Status> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
        Session::begin(&self.0, request.metadata().as_ref(), peer).await.map_err(denied)
    }

    /// A session with one of the streams that its account can have.
    async fn stream<T>(&self, request: &Request<T>) -> Result<(Session, Share<AccountId>), Status> {
        let session = self.session(request).await?;
        let share = self.0.stream(session.caller.account).map_err(Status::resource_exhausted)?;
        Ok((session, share))
    }

    /// Places the orders of a stream; a table of answers for each of its batches.
    async fn place(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<impl Stream<Item = Result<RecordBatch, Status>> + Send + use<>, Status> {
        let (session, share) = self.stream(&request).await?;
        let hub = Arc::clone(&self.0);
        let (to, pending) = mpsc::channel(PIPELINE);
        let reading = read(Arc::clone(&hub), session, request.into_inner(), to);
        tokio::spawn(async move {
            let _share = share;
            reading.await;
        });
        let next = move |(mut pending, told): (mpsc::Receiver<Result<Pending, Status>>, _)| {
            let hub = Arc::clone(&hub);
            async move {
                // The answers before are taken, because others are asked for.
                drop::<Option<OwnedSemaphorePermit>>(told);
                let (answers, told) = match pending.recv().await? {
                    Ok(Pending { placing, in_hand }) => (answer(&hub, placing).await, Some(in_hand)),
                    Err(status) => (Err(status), None),
                };
                Some((answers, (pending, told)))
            }
        };
        Ok(stream::unfold((pending, None), next))
    }
}

/// Tables as long as the session lasts.
fn lasting<S>(
    hub: Arc<Hub>,
    (session, share): (Session, Share<AccountId>),
    tables: S,
) -> impl Stream<Item = Result<RecordBatch, Status>> + Send + use<S>
where
    S: Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
{
    let (to, told) = mpsc::channel(1);
    tokio::spawn(async move {
        let _share = share;
        let telling = async {
            let mut tables = pin!(tables);
            while let Some(table) = tables.try_next().await? {
                if to.send(Ok(table)).await.is_err() {
                    // Nobody reads them any more.
                    break;
                }
            }
            Ok(())
        };
        session.read(&hub, &to, telling).await;
    });
    ReceiverStream::new(told)
}

/// Reads and hands over until the stream or the session ends.
async fn read(
    hub: Arc<Hub>,
    session: Session,
    mut from: Streaming<FlightData>,
    to: mpsc::Sender<Result<Pending, Status>>,
) {
    let caller = session.caller.account;
    let mut reader = OrderReader::new(caller);
    let own_room = hub.stream_room.of(caller);
    let reading = async {
        while let Some(data) = from.message().await? {
            if let Some(descriptor) = &data.flight_descriptor
                && name_of(descriptor) != Some("orders")
            {
                return Err(Status::not_found("only `orders` can be put or exchanged"));
            }
            let (in_hand, on_its_way) = hub.stream_room.enter(&own_room, data.data_body.len()).await;
            let orders = reader.take(&data).map_err(|error| Status::invalid_argument(error.to_string()))?;
            // What came is not kept beside what it became.
            drop(data);
            let Some(orders) = orders else { continue };
            let room = hub.waiting_room.enter(&orders).await;
            let placing = Placing::begin(&hub.cell, caller, orders, room).await.map_err(unavailable)?;
            drop(on_its_way);
            if to.send(Ok(Pending { placing, in_hand })).await.is_err() {
                // Nobody reads the answers any more.
                return Ok(());
            }
        }
        Ok(())
    };
    session.read(&hub, &to, reading).await;
}

/// The answers to a batch, once they are durable.
async fn answer(hub: &Hub, pending: Placing) -> Result<RecordBatch, Status> {
    let answers = pending.answers(hub).await.map_err(placing)?;
    tables::answers(&answers).map_err(internal)
}

fn put_result(answers: Result<RecordBatch, Status>) -> Result<PutResult, Status> {
    let bytes = tables::to_bytes(&answers?).map_err(internal)?;
    Ok(PutResult { app_metadata: bytes.into() })
}

/// All articles, page by page.
fn articles(hub: Arc<Hub>) -> impl Stream<Item = Result<RecordBatch, Status>> + Send {
    stream::try_unfold(ArticleId(0), move |after| {
        let hub = Arc::clone(&hub);
        async move {
            let page = hub.cell.read(move |state| tables::articles(state, after, ARTICLES)).await;
            page.map_err(unavailable)?.map_err(internal)
        }
    })
}

#[tonic::async_trait]
impl FlightService for Gateway {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented("send `authorization: Bearer TOKEN` with every call"))
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.session(&request).await?;
        let infos: Vec<_> = flights().map(|(name, schema)| info(name, schema)).into();
        Ok(Response::new(Box::pin(stream::iter(infos))))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.session(&request).await?;
        let (name, schema) = schema_of(name_of(request.get_ref()))?;
        info(name, schema).map(Response::new)
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("use GetFlightInfo"))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.session(&request).await?;
        let (_, schema) = schema_of(name_of(request.get_ref()))?;
        let options = IpcWriteOptions::default();
        let message: Result<IpcMessage, ArrowError> = SchemaAsIpc::new(schema, &options).try_into();
        Ok(Response::new(SchemaResult { schema: message.map_err(internal)?.0 }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let session = self.stream(&request).await?;
        let hub = Arc::clone(&self.0);
        let ticket = std::str::from_utf8(&request.get_ref().ticket).unwrap_or_default();
        if ticket == "articles" {
            let articles = lasting(Arc::clone(&hub), session, articles(hub));
            return Ok(Response::new(encode(&tables::ARTICLES, articles)));
        }
        let no_ticket = || Status::not_found("there are the tickets `articles`, `events` and `orders`");
        let export = Export::of(ticket, &session.0.caller).ok_or_else(no_ticket)??;
        let schema = if export.orders { &export::ORDERS } else { &export::EVENTS };
        let tables = lasting(Arc::clone(&hub), session, export.tables(hub));
        Ok(Response::new(encode(schema, tables)))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let answers = self.place(request).await?;
        Ok(Response::new(Box::pin(answers.map(put_result))))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        let answers = self.place(request).await?;
        Ok(Response::new(encode(&tables::ANSWERS, answers)))
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(Status::unimplemented("there are no actions"))
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        self.session(&request).await?;
        Ok(Response::new(Box::pin(stream::empty())))
    }
}
