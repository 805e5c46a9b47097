"""A slow second market in plain dictionaries: does again what a hub was asked, and compares every answer and the end.

Usage: model.py FOLDER        (FOLDER/script.jsonl says what was done, in its order; exit status 1: they disagree)

Written from docs/orders.md and the HTTP API's description alone, so that it shares no mistake with the hub. Orders came
to the hub in batches on several streams at once. A batch is placed as a whole, and orders get numbers as they come, so
that numbers say which batch was first. A batch of which nothing was placed changes nothing, wherever it was in its
stream's order: there it must fit somewhere.
"""

import csv
import json
import sys
from collections import Counter

import pyarrow.parquet

QUANTITY_MAX = 1_000_000
SHOWN = 20


class Market:
    def __init__(self, folder):
        self.folder = folder
        self.fee_bp, self.fee_to, self.tax_to, self.settle_at = 0, None, None, "shipping"
        self.articles = {}  # sku -> {id, price, tax_bp}
        self.shelves = {}  # sku -> {place: [on hand, reserved]}, the first place is the one that goods came to first
        self.available, self.held = Counter(), Counter()
        self.customers = set()
        self.orders = {}  # number -> order
        self.keys = {}  # order id -> (content, answer)
        self.refused, self.problems = Counter(), []

    def disagree(self, what, hub, here):
        self.problems.append(f"{what}: the hub says {hub}, the model {here}")

    # What there is.

    def terms(self, fee_to, tax_to, fee_bp):
        self.fee_to, self.tax_to, self.fee_bp = fee_to, tax_to, fee_bp

    def shop(self, settle_at):
        self.settle_at = settle_at

    def load_articles(self, file, rejected):
        wrong = 0
        with open(f"{self.folder}/{file}", newline="") as rows:
            for row in csv.DictReader(rows):
                if not row["price"]:
                    wrong += 1
                    continue
                article = self.articles.setdefault(row["sku"], {"id": len(self.articles) + 1})
                article["price"], article["tax_bp"] = int(row["price"]), int(row["tax_bp"])
        if wrong != rejected:
            self.disagree(f"rejected rows of {file}", rejected, wrong)

    def load_stock(self, file, rejected):
        if file.endswith(".parquet"):
            rows = pyarrow.parquet.read_table(f"{self.folder}/{file}").to_pylist()
        else:
            with open(f"{self.folder}/{file}", newline="") as opened:
                rows = list(csv.DictReader(opened))
        wrong = 0
        for row in rows:
            if row["sku"] not in self.articles:
                wrong += 1
                continue
            shelf = self.shelves.setdefault(row["sku"], {}).setdefault(int(row["place"]), [0, 0])
            shelf[0] += int(row["quantity"])
        if wrong != rejected:
            self.disagree(f"rejected rows of {file}", rejected, wrong)

    def load_customers(self, file):
        with open(f"{self.folder}/{file}", newline="") as rows:
            for row in csv.DictReader(rows):
                self.customers.add(row["name"])
                self.available[row["name"]] += int(row["money"])
                self.available["issuer"] -= int(row["money"])

    # Orders.

    def number(self, sku):
        article = self.articles.get(sku)
        return article["id"] if article else int(sku.removeprefix("unknown-"))

    def judge(self, order, way):
        """Why an order is refused, or what it comes to."""
        if way == "http" and any(line["sku"] not in self.articles for line in order["lines"]):
            return ("no_article", None), None
        if order["customer"] not in self.customers:
            return ("no_account", None), None
        wanted = Counter()
        for line in order["lines"]:
            if not 0 < line["quantity"] <= QUANTITY_MAX:
                return ("bad_quantity", self.number(line["sku"])), None
            wanted[line["sku"]] += line["quantity"]
        # Lines stand in the order of their articles' numbers, and are looked at one after the other.
        skus = sorted(wanted, key=self.number)
        many = next((sku for sku in skus if wanted[sku] > QUANTITY_MAX), None)
        if many:
            return ("bad_quantity", self.number(many)), None
        lines, total, tax = [], 0, 0
        for sku in skus:
            article = self.articles.get(sku)
            if article is None:
                return ("no_article", self.number(sku)), None
            amount = article["price"] * wanted[sku]
            total += amount
            tax += amount * article["tax_bp"] // (10_000 + article["tax_bp"])
            place, most = None, 0
            shelves = self.shelves.get(sku, {})
            first, *others = shelves or [0]
            looked_at = [first, *sorted(others)][:64] if order.get("place") is None else [order["place"]]
            for number in looked_at:
                if number in shelves:
                    on_hand, reserved = shelves[number]
                    if on_hand - reserved >= wanted[sku]:
                        place = number
                        break
                    most = max(most, on_hand - reserved)
            if place is None:
                return ("not_enough_stock", most), None
            lines.append({"sku": sku, "quantity": wanted[sku], "place": place, "price": article["price"], "gone": 0,
                          "asked": 0, "back": 0})
        if total != int(order["total"]):
            return ("other_total", total), None
        if self.available[order["customer"]] < total:
            return ("not_enough_money", self.available[order["customer"]]), None
        fee = min(total * self.fee_bp // 10_000, total - tax)
        return None, {"lines": lines, "total": total, "tax": tax, "fee": fee}

    def place(self, number, order, found):
        placed = dict(found, customer=order["customer"], state="paid", settled=0, refunded=0, parcels=[])
        placed["at_once"] = self.settle_at == "placing"
        for line in placed["lines"]:
            self.shelves[line["sku"]][line["place"]][1] += line["quantity"]
        self.available[order["customer"]] -= placed["total"]
        self.held[order["customer"]] += placed["total"]
        self.orders[number] = placed
        if placed["at_once"]:
            self.settle(placed, placed["total"])

    def answer(self, order, way):
        content = json.dumps({name: order[name] for name in order if name != "id"}, sort_keys=True)
        before = self.keys.get(order["id"])
        if before:
            return before[1] if before[0] == content else ("order_conflict", None), None, content
        refusal, found = self.judge(order, way)
        return refusal, found, content

    def agrees(self, here, hub, way):
        """Whether an answer of the hub, a number or [code, detail], is a refusal of ours."""
        return not isinstance(hub, int) and hub[0] == here[0] and (way == "http" or hub[1] == here[1])

    def known(self, batch):
        return next((answer for answer in batch["answers"] if isinstance(answer, int)), None)

    def fits(self, batch, way):
        """Whether a batch of which nothing was placed would be answered so now."""
        return all(self.agrees(self.answer(order, way)[0] or ("placed", None), hub, way)
                   for order, hub in zip(batch["orders"], batch["answers"]))

    def apply(self, batch, way):
        """A batch of which something was placed."""
        before = None
        for order, hub in zip(batch["orders"], batch["answers"]):
            here, found, content = self.answer(order, way)
            if isinstance(here, int) or (here is None and isinstance(hub, int)):
                if isinstance(here, int) and here != hub:
                    self.disagree(f"order {order['id']}, sent again", hub, here)
                if here is None:
                    if before is not None and hub <= before:
                        self.disagree(f"the number of order {order['id']}", hub, f"more than {before}")
                    before = hub
                    self.place(hub, order, found)
                    self.keys[order["id"]] = (content, hub)
            elif here is None or not self.agrees(here, hub, way):
                self.disagree(f"order {order['id']}", hub, here or "placed")
            else:
                # What does not even name an article is refused before anybody remembers it.
                if way == "flight" or here[0] != "no_article":
                    self.keys.setdefault(order["id"], (content, here))
                self.refused[here[0]] += 1

    def place_all(self, orders, answers, way):
        streams = {}
        with open(f"{self.folder}/{orders}") as file:
            asked = [json.loads(line) for line in file]
        with open(f"{self.folder}/{answers}") as file:
            for line in file:
                batch = json.loads(line)
                first = batch["first"]
                batch["orders"] = asked[first : first + len(batch["answers"])]
                streams.setdefault(batch["stream"], []).append(batch)
        told = sum(len(batch["answers"]) for stream in streams.values() for batch in stream)
        if told != len(asked):
            self.disagree(f"answers to {orders}", told, len(asked))
        turns = [(self.known(batch), stream, at) for stream, batches in streams.items()
                 for at, batch in enumerate(batches) if self.known(batch) is not None]
        heads = dict.fromkeys(streams, 0)
        for _, stream, at in [*sorted(turns), (None, None, None)]:
            # Batches of refused orders, where they fit first.
            for name, batches in streams.items():
                while heads[name] < len(batches) and self.known(batches[heads[name]]) is None:
                    batch, last = batches[heads[name]], name == stream or stream is None
                    if not last and not self.fits(batch, way):
                        break
                    self.apply(batch, way)
                    heads[name] += 1
            if stream is not None:
                self.apply(streams[stream][at], way)
                heads[stream] = at + 1

    # What becomes of orders.

    def settle(self, order, upto):
        """Pays the merchant, the platform and the tax office for the part of an order up to this mark."""
        fee, tax = (after - before for before, after in zip(parts(order, order["settled"]), parts(order, upto)))
        amount = upto - order["settled"]
        self.held[order["customer"]] -= amount
        self.available["grocer"] += amount - fee - tax
        self.available[self.fee_to] += fee
        self.available[self.tax_to] += tax
        order["settled"] = upto

    def send_back(self, order, amount):
        upto = order["refunded"] + amount
        fee, tax = (after - before for before, after in zip(parts(order, order["refunded"]), parts(order, upto)))
        self.available[order["customer"]] += amount
        self.available["grocer"] -= amount - fee - tax
        self.available[self.fee_to] -= fee
        self.available[self.tax_to] -= tax
        order["refunded"] = upto

    def lines_of(self, order, body, default):
        named = {line["sku"]: line["quantity"] for line in body.get("lines", [])}
        picked = [(line, named.get(line["sku"], 0) if named else default(line)) for line in order["lines"]]
        return [(line, quantity) for line, quantity in picked if quantity]

    def step(self, order, step, body):
        state = order["state"]
        possible = {
            "allocate": ["paid"],
            "ship": ["allocated", "partly_shipped"],
            "deliver": ["partly_shipped", "shipped"],
            "complete": ["delivered", "return_requested"],
            "return": ["delivered", "completed", "refunded"],
            "accept-return": ["return_requested"],
            "refuse-return": ["return_requested"],
            "refund": ["shipped", "delivered", "completed", "return_requested", "returned", "refunded"],
            "cancel": ["paid"] if body.get("by") == "customer" else ["paid", "allocated", "partly_shipped"],
        }
        if state not in possible[step]:
            return "wrong_state"
        if step == "allocate":
            order["state"] = "allocated"
        elif step == "ship":
            for line, quantity in self.lines_of(order, body, lambda line: line["quantity"] - line["gone"]):
                line["gone"] += quantity
                shelf = self.shelves[line["sku"]][line["place"]]
                shelf[0] -= quantity
                shelf[1] -= quantity
            order["parcels"].append("sent")
            everything = all(line["gone"] == line["quantity"] for line in order["lines"])
            order["state"] = "shipped" if everything else "partly_shipped"
            if not order["at_once"]:
                self.settle(order, order["total"] if everything else worth(order))
        elif step == "deliver":
            order["parcels"][body["parcel"] - 1] = "there"
            self.arrive(order)
        elif step in ("complete", "refuse-return"):
            order["state"] = "completed"
            for line in order["lines"]:
                line["asked"] = 0
        elif step == "cancel":
            rest = order["total"] - worth(order)
            for line in order["lines"]:
                self.shelves[line["sku"]][line["place"]][1] -= line["quantity"] - line["gone"]
            if order["at_once"]:
                self.send_back(order, rest)
            else:
                self.held[order["customer"]] -= rest
                self.available[order["customer"]] += rest
            order["state"] = "shipped" if order["parcels"] else "cancelled"
            self.arrive(order)
        elif step == "return":
            for line, quantity in self.lines_of(order, body, lambda line: line["gone"] - line["back"]):
                line["asked"] = quantity
            order["state"] = "return_requested"
        elif step == "accept-return":
            for line, quantity in self.lines_of(order, body, lambda line: line["asked"]):
                line["back"] += quantity
                if body.get("restock"):
                    self.shelves[line["sku"]][line["place"]][0] += quantity
            order["state"] = "returned" if order["settled"] > order["refunded"] else "refunded"
        elif step == "refund":
            left = order["settled"] - order["refunded"]
            amount = int(body["amount"])
            if amount <= 0:
                return "bad_amount"
            if amount > left:
                return "refund_too_large"
            self.send_back(order, amount)
            if amount == left or state in ("returned", "refunded"):
                order["state"] = "refunded"
        return "ok"

    def arrive(self, order):
        if order["state"] == "shipped" and all(parcel == "there" for parcel in order["parcels"]):
            order["state"] = "delivered"

    def step_all(self, file):
        with open(f"{self.folder}/{file}") as lines:
            for line in lines:
                step = json.loads(line)
                here = self.step(self.orders[step["order"]], step["step"], step["body"])
                if here != step["answer"]:
                    self.disagree(f"{step['step']} of order {step['order']}", step["answer"], here)

    # The end.

    def rows(self, file):
        with open(f"{self.folder}/{file}") as lines:
            yield from map(json.loads, lines)

    def compare_balances(self, file):
        seen = set()
        for row in self.rows(file):
            seen.add(row["name"])
            hub = (int(row["available"]), int(row["held"]))
            here = (self.available[row["name"]], self.held[row["name"]])
            if hub != here:
                self.disagree(f"available and held of {row['name']}", hub, here)
        for name in sorted(set(self.available) - seen):
            self.disagree(f"the account {name}", "nothing", self.available[name])

    def compare_articles(self, file):
        seen = set()
        for row in self.rows(file):
            seen.add(row["sku"])
            hub = (row["id"], int(row["price"]),
                   {shelf["place"]: [shelf["on_hand"], shelf["reserved"]] for shelf in row["stock"]})
            article = self.articles.get(row["sku"], {"id": None, "price": None})
            here = (article["id"], article["price"], self.shelves.get(row["sku"], {}))
            if hub != here:
                self.disagree(f"number, price and stock of article {row['sku']}", hub, here)
        for sku in sorted(set(self.articles) - seen):
            self.disagree(f"article {sku}", "nothing", self.articles[sku])

    def compare_orders(self, file, balances):
        """Orders as `pumasi market export` wrote them, with numbers of customers and articles."""
        names = {row["id"]: row["name"] for row in self.rows(balances)}
        skus = {article["id"]: sku for sku, article in self.articles.items()}
        money, seen = ("total", "tax", "fee", "paid_out", "refunded"), set()
        for batch in pyarrow.parquet.ParquetFile(f"{self.folder}/{file}").iter_batches():
            for row in batch.to_pylist():
                seen.add(row["order"])
                lines = [[skus.get(line["article"]), *(line[name] for name in ("quantity", "place", "shipped", "returned"))]
                         for line in row["lines"]]
                hub = [names.get(row["customer"]), row["state"], *(row[name] for name in money), lines]
                order = self.orders.get(row["order"])
                here = order and [order["customer"], order["state"],
                                  *(order[name] for name in ("total", "tax", "fee", "settled", "refunded")),
                                  [[line[name] for name in ("sku", "quantity", "place", "gone", "back")]
                                   for line in order["lines"]]]
                if hub != here:
                    self.disagree(f"order {row['order']}", hub, here)
        for number in sorted(set(self.orders) - seen):
            self.disagree(f"order {number}", "nothing", self.orders[number]["state"])


def worth(order):
    """The part of its total that an order's parcels are worth, rounded down."""
    whole = sum(line["price"] * line["quantity"] for line in order["lines"])
    gone = sum(line["price"] * line["gone"] for line in order["lines"])
    return order["total"] * gone // whole if whole else 0


def parts(order, amount):
    """Fee and tax in the first so much of an order's money: both together are rounded down, then the tax of that."""
    both = order["fee"] + order["tax"]
    taken = amount * both // order["total"] if order["total"] else 0
    tax = taken * order["tax"] // both if both else 0
    return taken - tax, tax


def main(folder):
    market = Market(folder)
    does = {
        "terms": market.terms,
        "shop": market.shop,
        "articles": market.load_articles,
        "stock": market.load_stock,
        "customers": market.load_customers,
        "orders": market.place_all,
        "steps": market.step_all,
    }
    with open(f"{folder}/script.jsonl") as script:
        for line in script:
            phase = json.loads(line)
            does[phase.pop("phase")](**phase)
    market.compare_balances("balances.end")
    market.compare_articles("articles.end")
    market.compare_orders("orders.parquet", "balances.end")
    for problem in market.problems[:SHOWN]:
        print(problem)
    if market.problems:
        print(f"{len(market.problems)} disagreements")
        sys.exit(1)
    states = Counter(order["state"] for order in market.orders.values())
    shelves = sum(len(shelves) for shelves in market.shelves.values())
    print(f"{len(market.available)} balances, {shelves} shelves and {len(market.orders)} orders are equal: "
          + ", ".join(f"{count} {state}" for state, count in states.most_common()))


main(sys.argv[1])
