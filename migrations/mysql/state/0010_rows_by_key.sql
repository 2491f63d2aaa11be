-- InnoDB keeps every table in the order of its key: what SQLite is told here is so already.
DO 0;
