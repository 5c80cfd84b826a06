-- Version 6. What was found damaged in the cache, and how far the cache was hashed again.

-- Blobs whose file is missing or is not what it should be, from when it was noticed until whole bytes are at their place
-- again. Nobody may take such a blob for present, and no byte of it is shown. fault: the word for what is wrong. aside: the
-- name that the bad file has in the quarantine now; null where there was none. Numbers are AUTOINCREMENT, so that who
-- remembers them notices that a blob was repaired and damaged again.
CREATE TABLE damaged (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    blob_id  INTEGER NOT NULL UNIQUE REFERENCES blob (id) ON DELETE CASCADE,
    found_at INTEGER NOT NULL,
    fault    TEXT    NOT NULL,
    aside    TEXT
) STRICT;

-- When all blobs of a unit were hashed again last. The unit of a blob is the first twelve bits of its digest. A blob that
-- came later was hashed when it came.
CREATE TABLE rehashed (
    unit INTEGER PRIMARY KEY CHECK (unit BETWEEN 0 AND 4095),
    at   INTEGER NOT NULL
) STRICT;

-- Runs that hash again and have not come to their end, and the first unit that is left to do. scope: the mirrors that the
-- run is limited to, separated by spaces; empty for the whole cache.
CREATE TABLE rehash_run (
    scope     TEXT    NOT NULL,
    part      INTEGER NOT NULL,
    parts     INTEGER NOT NULL,
    begun_at  INTEGER NOT NULL,
    next_unit INTEGER NOT NULL,
    PRIMARY KEY (scope, part, parts)
) STRICT, WITHOUT ROWID;
