-- The catalogs of campaigns live in the database rstar, one schema each; Prefect has a database of its own.
CREATE DATABASE prefect OWNER rstar;
