-- Version 7. Whether a commit that reported an error has happened can be known: every transaction that changes anything leaves
-- a mark of its own, of which the last few are kept.
CREATE TABLE commit_mark (
    id    INTEGER PRIMARY KEY,
    token BLOB    NOT NULL CHECK (length(token) = 16)
) STRICT;
