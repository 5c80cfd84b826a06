-- Version 4. Pointers by name, so that there can be more of them; why each move was made, and what it keeps reachable of
-- the publications before it; what is known of snapshots besides their files.

-- Names of pointers, interned for all mirrors: staging, current, and configured environments.
CREATE TABLE pointer (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT    NOT NULL UNIQUE
) STRICT;
INSERT INTO pointer (id, name) VALUES (0, 'staging'), (1, 'current');

-- Why, in the operator's words.
ALTER TABLE move ADD COLUMN message TEXT;
-- Earlier publications whose files stay reachable below the pointer from this move on: the last so many of them, and
-- those that were superseded less than so many seconds ago.
ALTER TABLE move ADD COLUMN keep_generations INTEGER NOT NULL DEFAULT 3;
ALTER TABLE move ADD COLUMN keep_for INTEGER NOT NULL DEFAULT 172800;
-- Whether the move takes back what was published after its target: of that, nothing stays reachable.
ALTER TABLE move ADD COLUMN retracts INTEGER NOT NULL DEFAULT 0;
-- Whether the snapshot had passed its checks when the pointer moved to it; null where nobody had checked it.
ALTER TABLE move ADD COLUMN passed INTEGER;

-- The operator's words about a snapshot.
ALTER TABLE snapshot ADD COLUMN note TEXT;
CREATE TABLE snapshot_tag (
    snapshot_id INTEGER NOT NULL REFERENCES snapshot (id) ON DELETE CASCADE,
    tag         TEXT    NOT NULL,
    PRIMARY KEY (snapshot_id, tag)
) STRICT, WITHOUT ROWID;

-- Runs of the checks on a snapshot; the newest counts. The report is JSON.
CREATE TABLE test_run (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    snapshot_id INTEGER NOT NULL REFERENCES snapshot (id) ON DELETE CASCADE,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    passed      INTEGER NOT NULL,
    report      TEXT    NOT NULL
) STRICT;
CREATE INDEX test_run_of_snapshot ON test_run (snapshot_id, id);
-- What the companions had in a run, by their names: one need never have been synced, and snapshots go. Null for nothing.
CREATE TABLE test_company (
    run_id      INTEGER NOT NULL REFERENCES test_run (id) ON DELETE CASCADE,
    companion   TEXT    NOT NULL,
    snapshot_id INTEGER,
    PRIMARY KEY (run_id, companion)
) STRICT, WITHOUT ROWID;

-- When snapshots were made that are gone: a time at which one of them was the newest has no tree any more, and an older
-- tree would be a wrong answer. Each keeps its row number, which orders those of one second.
CREATE TABLE snapshot_gone (
    id         INTEGER PRIMARY KEY,
    mirror_id  INTEGER NOT NULL REFERENCES mirror (id),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX snapshot_gone_by_time ON snapshot_gone (mirror_id, created_at);
CREATE TRIGGER snapshot_goes AFTER DELETE ON snapshot
BEGIN INSERT INTO snapshot_gone (id, mirror_id, created_at) VALUES (OLD.id, OLD.mirror_id, OLD.created_at); END;
CREATE INDEX snapshot_by_time ON snapshot (mirror_id, created_at);
