-- Version 3. A mirror whose filters leave packages out may serve indices that list them all the same: the number of
-- files that a listing's indices name and it does not have.
ALTER TABLE listing ADD COLUMN absent INTEGER NOT NULL DEFAULT 0 CHECK (absent >= 0);
