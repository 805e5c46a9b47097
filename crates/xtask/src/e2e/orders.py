"""Orders through Arrow Flight with nothing but pyarrow: what a hub promises to any Arrow client.

Arguments: the hub's gRPC address, a storefront's token, the hub's certificate, the customer's id. Every check that
fails ends the program with an error.
"""

import sys
import uuid

import pyarrow as pa
import pyarrow.flight as flight

ADDRESS, TOKEN, CERTIFICATE, CUSTOMER = sys.argv[1:5]
ORDERS = flight.FlightDescriptor.for_path("orders")
LINES = pa.list_(pa.struct([("article", pa.uint32()), ("quantity", pa.uint32())]))


def options(token=TOKEN):
    return flight.FlightCallOptions(headers=[(b"authorization", b"Bearer " + token.encode())], timeout=60)


def connect():
    with open(CERTIFICATE, "rb") as file:
        return flight.FlightClient(ADDRESS, tls_root_certs=file.read(), override_hostname="localhost")


def table(ids, **columns):
    """Orders of one tea each, unless the columns say otherwise; a column that is None is left out."""
    count = len(ids)
    usual = {
        "id": pa.array([id.bytes for id in ids], pa.binary(16)),
        "customer": pa.array([int(CUSTOMER)] * count, pa.uint64()),
        "total": pa.array([5000] * count, pa.int64()),
        "currency": pa.array(["KRW"] * count, pa.string()),
        "article": pa.array([1] * count, pa.uint32()),
        "quantity": pa.array([1] * count, pa.uint32()),
    }
    both = {name: column for name, column in {**usual, **columns}.items() if column is not None}
    return pa.RecordBatch.from_pydict(both)


def exchange(client, batches, token=TOKEN):
    """Sends all batches, then reads what came of them."""
    writer, reader = client.do_exchange(ORDERS, options(token))
    with writer:
        writer.begin(batches[0].schema)
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        return [chunk.data for chunk in reader]


def refused(kind, said, work):
    try:
        work()
    except kind as error:
        assert said in str(error), f"{said!r} is not in {error}"
    else:
        raise AssertionError(f"it was not refused: {said}")


def ids(count):
    return [uuid.uuid4() for _ in range(count)]


def what_there_is(client):
    schema = client.get_schema(ORDERS, options()).schema
    assert schema.field("id").type == pa.binary(16) and schema.field("total").type == pa.int64(), schema
    assert client.get_flight_info(ORDERS, options()).schema == schema
    names = [info.descriptor.path for info in client.list_flights(options=options())]
    assert names == [[b"orders"], [b"articles"], [b"events"]], names
    info = client.get_flight_info(flight.FlightDescriptor.for_path("articles"), options())
    articles = client.do_get(info.endpoints[0].ticket, options()).read_all()
    assert articles.column("sku").to_pylist()[:2] == ["tea", "rice"], articles
    assert articles.num_rows == 5002, "more than one page"


def ways_to_write_orders(client):
    batches = [table(ids(1000)) for _ in range(10)]
    answers = exchange(client, batches)
    assert [batch.num_rows for batch in answers] == [1000] * 10
    orders = [order for batch in answers for order in batch.column("order").to_pylist()]
    assert all(not any(batch.column("status").to_pylist()) for batch in answers)
    assert orders == sorted(set(orders)), "answers come in the order of the orders"
    again = exchange(client, batches)
    assert again == answers, "the same ids are the same orders"
    changed = table([uuid.UUID(bytes=id) for id in batches[0].column("id").to_pylist()], total=pa.array([1] * 1000))
    assert set(exchange(client, [changed])[0].column("code").to_pylist()) == {"order_conflict"}

    lines = [[{"article": 1, "quantity": 1}, {"article": 2, "quantity": 2}], [{"article": 1, "quantity": 3}]]
    texts = pa.array(["주문-1", "order-2"])
    currency = pa.array(["KRW", "KRW"]).dictionary_encode()
    total = pa.array([65000, 15000], pa.int64())
    many = table(ids(2), id=texts, total=total, currency=currency, article=None, quantity=None, lines=pa.array(lines, LINES))
    assert exchange(client, [many])[0].column("status").to_pylist() == [0, 0]
    bare = table(ids(1), currency=None).replace_schema_metadata({"currency": "KRW"})
    assert exchange(client, [bare])[0].column("status").to_pylist() == [0]
    assert [batch.num_rows for batch in exchange(client, [table([]), table(ids(1))])] == [0, 1]


def refusals(client):
    batch = table(
        ids(7),
        total=pa.array([5000, 4999, 5000, 5000, 5000, 5000, -5000], pa.int64()),
        article=pa.array([1, 1, 9999, 1, 1, 1, 1], pa.uint32()),
        quantity=pa.array([1, 1, 1, 0, 4294967295, 1, 1], pa.uint32()),
        place=pa.array([None, None, None, None, None, 9, None], pa.uint32()),
    )
    answers = exchange(client, [batch])[0].to_pylist()
    codes = [answer["code"] for answer in answers]
    assert codes == [None, "other_total", "no_article", "bad_quantity", "bad_quantity", "not_enough_stock", "other_total"], codes
    assert [answers[1]["detail"], answers[2]["detail"]] == [5000, 9999], answers


def put(client):
    batches = [table(ids(100)), table(ids(200))]
    writer, reader = client.do_put(ORDERS, batches[0].schema, options())
    with writer:
        for batch in batches:
            writer.write_batch(batch)
            answers = pa.ipc.open_stream(reader.read()).read_all()
            assert answers.num_rows == batch.num_rows and not any(answers.column("status").to_pylist())


def malformed(client):
    bad = pa.ArrowException
    one = ids(1)
    for said, batch in [
        ("must be int64", table(one, total=pa.array([5000.0]))),
        ("must be uint64", table(one, customer=pa.array(["alice"]))),
        ("fixed_size_binary(16)", table(one, id=pa.array([b"short"]))),
        ("no column `total`", table(one, total=None)),
        ("no column `price`", table(one, price=pa.array([1]))),
        ("either `article`", table(one, lines=pa.array([[]], LINES))),
        ("has nulls", table(one, total=pa.array([None], pa.int64()))),
        ("has nulls", table(one, article=None, quantity=None, lines=pa.array([None], LINES))),
        ("1 to 255 lines", table(one, article=None, quantity=None, lines=pa.array([[]], LINES))),
        ("does not know it", table(one, currency=pa.array(["???"]))),
        ("1 to 64 bytes", table(one, id=pa.array(["x" * 65]))),
        ("at most 65536", table(one * 65537)),
    ]:
        refused(bad, said, lambda: exchange(client, [batch]))
    refused(bad, "only `orders`", lambda: elsewhere(client))
    refused(flight.FlightUnauthenticatedError, "token", lambda: exchange(client, [table(one)], "pumasi_guess"))
    # What was good before stays answered, though the stream ends badly.
    writer, reader = client.do_exchange(ORDERS, options())
    writer.begin(table(one).schema)
    writer.write_batch(table(one))
    assert reader.read_chunk().data.column("status").to_pylist() == [0]
    writer.write_batch(table(one * 65537))
    refused(bad, "at most 65536", reader.read_chunk)


def elsewhere(client):
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_path("articles"), options())
    writer.begin(table(ids(1)).schema)
    writer.write_batch(table(ids(1)))
    reader.read_chunk()


with connect() as client:
    what_there_is(client)
    ways_to_write_orders(client)
    refusals(client)
    put(client)
    malformed(client)
print("ok")
