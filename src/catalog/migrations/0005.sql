-- Version 5. Answers that take no longer with more snapshots: which files changed under their names, and what is found by hash.

-- Pool files that have other bytes from listing seq on than they had when the name was there last.
CREATE TABLE replacement (
    mirror_id INTEGER NOT NULL REFERENCES mirror (id),
    seq       INTEGER NOT NULL,
    dir_id    INTEGER NOT NULL,
    name      TEXT    NOT NULL,
    PRIMARY KEY (mirror_id, seq, dir_id, name)
) STRICT, WITHOUT ROWID;
INSERT INTO replacement (mirror_id, seq, dir_id, name)
SELECT mirror_id, from_seq, dir_id, name FROM entry AS now
WHERE role = 2
  AND EXISTS (SELECT 1 FROM entry AS before
              WHERE before.mirror_id = now.mirror_id AND before.dir_id = now.dir_id AND before.name = now.name
                AND before.from_seq < now.from_seq AND before.blob_id <> now.blob_id);

-- What is found by hash, by its bytes: a directory of indices has as many rows as there were listings.
CREATE INDEX entry_by_hash ON entry (mirror_id, dir_id, blob_id, from_seq, to_seq, by_hash) WHERE by_hash <> 0;
CREATE INDEX blob_by_listed_hash ON blob_hash (kind, value) WHERE kind IN (1, 2, 8);
