-- What no manifest holds goes into a ledger beside the catalog, so that both can be made anew without upstream.

-- Changes of rows that the ledger may not have yet: each is JSON, as in a line of it. Triggers on the tables add them
-- (`ledger/tables.rs` makes those after the migrations, of the columns that there are), and whoever writes next takes those
-- away that stand in the ledger. No number is ever given out twice: a ledger that has a later one is newer than its catalog.
CREATE TABLE ledger (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    change TEXT    NOT NULL
) STRICT;
