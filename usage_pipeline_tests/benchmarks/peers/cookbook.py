"""What the cookbooks show: requests, a list of dicts, pandas, DuckDB; the days read are deleted and inserted."""

import sys

import duckdb
import pandas as pd
import requests

BASE, START, END, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def main() -> None:
    """Load the window."""
    query = {"start_time": START, "end_time": END, "bucket_width": "1m", "limit": 1440}
    records = []
    while True:
        page = requests.get(f"{BASE}/organization/usage/completions", params=query, timeout=600).json()
        for bucket in page["data"]:
            times = {"start_time": bucket["start_time"], "end_time": bucket["end_time"]}
            records.extend({**times, **result} for result in bucket["results"])
        if not page["has_more"]:
            break
        query["page"] = page["next_page"]
    usage = pd.DataFrame(records)
    usage["bucket_start"] = pd.to_datetime(usage["start_time"], unit="s")
    with duckdb.connect(f"{FOLDER}/cookbook.duckdb") as con:
        con.register("usage", usage)
        con.execute("create table if not exists completions as select * from usage limit 0")
        con.execute("begin")
        con.execute("delete from completions where start_time >= ? and start_time < ?", [START, END])
        con.execute("insert into completions select * from usage")
        con.execute("commit")


main()
