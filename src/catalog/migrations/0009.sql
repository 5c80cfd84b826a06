-- Version 9. Leases in the order of their mirrors: written in one tree instead of two, and dropped all at once where they stand.
CREATE TABLE lease_of (
    mirror_id INTEGER NOT NULL REFERENCES mirror (id),
    sha256    BLOB    NOT NULL,
    leased_at INTEGER NOT NULL,
    PRIMARY KEY (mirror_id, sha256)
) STRICT, WITHOUT ROWID;
INSERT INTO lease_of SELECT mirror_id, sha256, leased_at FROM lease ORDER BY mirror_id, sha256;
DROP TABLE lease;
ALTER TABLE lease_of RENAME TO lease;
