-- Version 2. A listing that lost too much of its pool against the one before is held: no pointer moves to it, unless
-- an operator insists, which ends it.

-- Files of the pool in the listing.
ALTER TABLE listing ADD COLUMN pool_files INTEGER NOT NULL DEFAULT 0;
-- While the listing is held: the number of pool files that it is held against.
ALTER TABLE listing ADD COLUMN held_against INTEGER;
UPDATE listing SET pool_files = (
    SELECT count(*) FROM entry
    WHERE entry.mirror_id = listing.mirror_id AND role = 2 AND from_seq <= listing.seq AND to_seq > listing.seq);

-- Whether the move was made against a rule that would have refused it.
ALTER TABLE move ADD COLUMN forced INTEGER NOT NULL DEFAULT 0;
