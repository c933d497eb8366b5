-- The tables of the supervisor's database that the updater and the lab's stand-in use, with the columns of
-- engine-and-supervisor.md section 4 (supervisor 16.12.7 to 19.0.5; `rejected` came with 16.7.0).
CREATE TABLE config (key VARCHAR(255) PRIMARY KEY, value TEXT);
CREATE TABLE app (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(255), releaseId INTEGER, "commit" VARCHAR(255), appId INTEGER,
  services JSON, networks JSON, volumes JSON, source VARCHAR(255), uuid VARCHAR(255), class VARCHAR(255),
  isHost BOOLEAN, rejected BOOLEAN DEFAULT 0);
CREATE UNIQUE INDEX app_uuid_unique ON app (uuid);
CREATE TABLE image (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(255), appId INTEGER, serviceId INTEGER, serviceName VARCHAR(255),
  imageId INTEGER, releaseId INTEGER, dockerImageId VARCHAR(255), appUuid VARCHAR(255), "commit" VARCHAR(255));
CREATE TABLE currentCommit (id INTEGER PRIMARY KEY AUTOINCREMENT, appId INTEGER, "commit" VARCHAR(255));
CREATE TABLE deviceConfig (targetValues JSON);
CREATE TABLE apiSecret (id INTEGER PRIMARY KEY AUTOINCREMENT, appId INTEGER, serviceName VARCHAR(255), scopes JSON, key VARCHAR(255));
CREATE TABLE knex_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(255), batch INTEGER, migration_time DATETIME);
