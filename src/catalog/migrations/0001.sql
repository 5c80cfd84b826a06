-- Version 1. Sequence numbers count a mirror's listings; 2147483647 stands for "still so" in entry.to_seq.
-- Ids that the mount turns into inode numbers are AUTOINCREMENT: SQLite never gives one of them out twice.

-- One row. The generation is random and changes when the catalog is rebuilt or restored.
CREATE TABLE catalog (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation BLOB    NOT NULL CHECK (length(generation) = 16)
) STRICT;

CREATE TABLE mirror (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    checked_at INTEGER
) STRICT;

-- Directory paths, interned for all mirrors. Row 1 is the archive root.
CREATE TABLE dir (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    parent_id INTEGER NOT NULL REFERENCES dir (id),
    name      TEXT    NOT NULL,
    UNIQUE (parent_id, name)
) STRICT;
INSERT INTO dir (id, parent_id, name) VALUES (1, 1, '');

-- A row exists only for bytes that are whole and durable at their place. refs counts the rows that name the blob; the
-- triggers below keep it, and refuse to lose a blob that is named or to name one that is not there. (Foreign keys
-- would search every entry instead.)
CREATE TABLE blob (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256       BLOB    NOT NULL CHECK (length(sha256) = 32),
    size         INTEGER NOT NULL,
    mtime        INTEGER NOT NULL,
    refs         INTEGER NOT NULL DEFAULT 0 CHECK (refs >= 0),
    condemned_at INTEGER
) STRICT;
-- Digests are looked up by substr(sha256, 1, 8) and then compared; by sha256 alone, every row would be read. Not
-- unique, as two digests can begin alike: whoever inserts has looked the digest up in the same transaction.
CREATE INDEX blob_by_digest ON blob (substr(sha256, 1, 8));
CREATE INDEX blob_unused ON blob (condemned_at) WHERE refs = 0;

-- Other hashes of an index, as its Release file lists them. kind: 1 MD5Sum, 2 SHA1, 8 SHA512 (the bits of by_hash).
CREATE TABLE blob_hash (
    blob_id INTEGER NOT NULL REFERENCES blob (id) ON DELETE CASCADE,
    kind    INTEGER NOT NULL,
    value   BLOB    NOT NULL,
    PRIMARY KEY (blob_id, kind, value)
) STRICT, WITHOUT ROWID;

-- A manifest is the listing's other form: a blob that holds it whole, or as changes to the manifest base_id.
CREATE TABLE manifest (
    blob_id INTEGER PRIMARY KEY,
    base_id INTEGER,
    depth   INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT;

-- One synced state of a mirror. The newest of each mirror is its last synced state.
CREATE TABLE listing (
    mirror_id   INTEGER NOT NULL REFERENCES mirror (id),
    seq         INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    files       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    url         TEXT    NOT NULL,
    selection   TEXT    NOT NULL,
    manifest_id INTEGER NOT NULL,
    PRIMARY KEY (mirror_id, seq)
) STRICT, WITHOUT ROWID;

-- What the verified Release file of each suite said, and what a conditional request for it needs.
CREATE TABLE release (
    mirror_id     INTEGER NOT NULL,
    seq           INTEGER NOT NULL,
    suite         TEXT    NOT NULL,
    date          INTEGER,
    valid_until   INTEGER,
    origin        TEXT,
    label         TEXT,
    suite_field   TEXT,
    codename      TEXT,
    signers       TEXT    NOT NULL,
    etag          TEXT,
    last_modified TEXT,
    PRIMARY KEY (mirror_id, seq, suite),
    FOREIGN KEY (mirror_id, seq) REFERENCES listing (mirror_id, seq) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- A name in a directory, from listing from_seq on and before listing to_seq: a file (blob_id, role) or a directory
-- (child_dir). role: 0 Release, 1 index, 2 pool. by_hash: hash types under which a file is found by hash.
CREATE TABLE entry (
    mirror_id INTEGER NOT NULL REFERENCES mirror (id),
    dir_id    INTEGER NOT NULL REFERENCES dir (id),
    name      TEXT    NOT NULL,
    from_seq  INTEGER NOT NULL,
    to_seq    INTEGER NOT NULL CHECK (to_seq > from_seq),
    child_dir INTEGER REFERENCES dir (id),
    blob_id   INTEGER,
    role      INTEGER,
    by_hash   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (mirror_id, dir_id, name, from_seq),
    CHECK ((child_dir IS NULL) <> (blob_id IS NULL)),
    CHECK ((blob_id IS NULL) = (role IS NULL))
) STRICT, WITHOUT ROWID;
-- The last synced state alone, so that finding what changed does not read what ended long ago.
CREATE INDEX entry_open ON entry (mirror_id, dir_id, name, child_dir, blob_id, role, by_hash)
    WHERE to_seq = 2147483647;

CREATE TABLE snapshot (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    mirror_id  INTEGER NOT NULL REFERENCES mirror (id),
    name       TEXT    NOT NULL,
    seq        INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    protected  INTEGER NOT NULL DEFAULT 0,
    UNIQUE (mirror_id, name),
    FOREIGN KEY (mirror_id, seq) REFERENCES listing (mirror_id, seq)
) STRICT;
CREATE INDEX snapshot_by_seq ON snapshot (mirror_id, seq);

-- Pointer moves, appended and never changed: the newest row of a pointer is where it points. pointer: 0 staging,
-- 1 current. Rows outlive their snapshots, so they repeat its name and sequence number. Moves of one transaction
-- share act_id, the id of the first of them.
CREATE TABLE move (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    act_id        INTEGER NOT NULL,
    mirror_id     INTEGER NOT NULL REFERENCES mirror (id),
    pointer       INTEGER NOT NULL,
    snapshot_id   INTEGER NOT NULL,
    snapshot_name TEXT    NOT NULL,
    seq           INTEGER NOT NULL,
    moved_at      INTEGER NOT NULL,
    serial_mtime  INTEGER NOT NULL,
    act           TEXT    NOT NULL,
    actor         TEXT    NOT NULL
) STRICT;
CREATE INDEX move_newest ON move (mirror_id, pointer, id);

-- What a sync that has not recorded its listing yet has fetched or relies on. Written before the bytes get their name.
CREATE TABLE lease (
    mirror_id INTEGER NOT NULL REFERENCES mirror (id),
    sha256    BLOB    NOT NULL,
    leased_at INTEGER NOT NULL,
    PRIMARY KEY (sha256, mirror_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_by_mirror ON lease (mirror_id);

CREATE TRIGGER blob_needed BEFORE DELETE ON blob WHEN OLD.refs > 0
BEGIN SELECT RAISE(ABORT, 'the blob is still referred to'); END;
CREATE TRIGGER blob_swept AFTER DELETE ON blob
BEGIN DELETE FROM manifest WHERE blob_id = OLD.id; END;
CREATE TRIGGER entry_refers AFTER INSERT ON entry WHEN NEW.blob_id IS NOT NULL
BEGIN
    UPDATE blob SET refs = refs + 1, condemned_at = NULL WHERE id = NEW.blob_id;
    SELECT RAISE(ABORT, 'there is no such blob') WHERE changes() = 0;
END;
CREATE TRIGGER entry_leaves AFTER DELETE ON entry WHEN OLD.blob_id IS NOT NULL
BEGIN UPDATE blob SET refs = refs - 1 WHERE id = OLD.blob_id; END;
CREATE TRIGGER listing_refers AFTER INSERT ON listing
BEGIN
    UPDATE blob SET refs = refs + 1, condemned_at = NULL WHERE id = NEW.manifest_id;
    SELECT RAISE(ABORT, 'there is no such blob') WHERE changes() = 0;
END;
CREATE TRIGGER listing_leaves AFTER DELETE ON listing
BEGIN UPDATE blob SET refs = refs - 1 WHERE id = OLD.manifest_id; END;
CREATE TRIGGER manifest_refers AFTER INSERT ON manifest WHEN NEW.base_id IS NOT NULL
BEGIN
    UPDATE blob SET refs = refs + 1, condemned_at = NULL WHERE id = NEW.base_id;
    SELECT RAISE(ABORT, 'there is no such blob') WHERE changes() = 0;
END;
CREATE TRIGGER manifest_leaves AFTER DELETE ON manifest WHEN OLD.base_id IS NOT NULL
BEGIN UPDATE blob SET refs = refs - 1 WHERE id = OLD.base_id; END;
