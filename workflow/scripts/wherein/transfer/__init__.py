"""Files over HTTP: fetched politely, checked, and kept in a cache that several runs share."""
