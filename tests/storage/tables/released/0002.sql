BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE commitment_inquiries (
	id INTEGER NOT NULL, 
	peer TEXT NOT NULL, 
	transaction_uid TEXT NOT NULL, 
	instances JSON NOT NULL, 
	reuses_uid BOOLEAN NOT NULL, 
	received_at DATETIME NOT NULL, 
	reported_at DATETIME, 
	CONSTRAINT pk_commitment_inquiries PRIMARY KEY (id)
);
INSERT INTO "commitment_inquiries" VALUES(1,'modality','2.25.2','[["1.2.840.10008.5.1.4.1.1.88.34", "1.1"]]',0,'2026-03-01 12:00:17.000000','2026-03-01 12:00:18.000000');
CREATE TABLE commitment_items (
	transaction_uid TEXT NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	sop_class_uid TEXT NOT NULL, 
	failure_reason INTEGER, 
	given_up BOOLEAN NOT NULL, 
	CONSTRAINT pk_commitment_items PRIMARY KEY (transaction_uid, sop_instance_uid), 
	CONSTRAINT fk_commitment_items_transaction_uid_commitment_requests FOREIGN KEY(transaction_uid) REFERENCES commitment_requests (transaction_uid)
);
INSERT INTO "commitment_items" VALUES('2.25.1','5.1','1.2.840.10008.5.1.4.1.1.88.34',281,1);
INSERT INTO "commitment_items" VALUES('2.25.1','9.9','1.2.840.10008.5.1.4.1.1.88.34',NULL,0);
CREATE TABLE commitment_requests (
	transaction_uid TEXT NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	requested_at DATETIME NOT NULL, 
	answer_by DATETIME, 
	closed_at DATETIME, 
	answered_at DATETIME, 
	CONSTRAINT pk_commitment_requests PRIMARY KEY (transaction_uid)
);
INSERT INTO "commitment_requests" VALUES('2.25.1','1.2.3','PACS','2026-03-01 12:00:15.000000','2026-03-01 13:00:00.000000','2026-03-01 12:00:16.000000','2026-03-01 12:00:16.000000');
CREATE TABLE deliveries (
	sop_instance_uid TEXT NOT NULL, 
	destination TEXT NOT NULL, 
	job_id INTEGER NOT NULL, 
	delivered_at DATETIME, 
	dimse_status INTEGER, 
	sop_class_uid TEXT, committed_at DATETIME, 
	CONSTRAINT pk_deliveries PRIMARY KEY (sop_instance_uid, destination), 
	CONSTRAINT uq_deliveries_job_id UNIQUE (job_id), 
	CONSTRAINT fk_deliveries_sop_instance_uid_objects FOREIGN KEY(sop_instance_uid) REFERENCES objects (sop_instance_uid), 
	CONSTRAINT fk_deliveries_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "deliveries" VALUES('9.9','PACS',4,'2026-03-01 12:00:09.000000',0,NULL,'2026-03-01 12:00:16.000000');
INSERT INTO "deliveries" VALUES('9.9','ARCHIVE',5,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES('5.1','PACS',6,'2026-03-01 12:00:11.000000',0,NULL,NULL);
INSERT INTO "deliveries" VALUES('5.1','ARCHIVE',7,NULL,NULL,NULL,NULL);
CREATE TABLE findings (
	instance_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	logit FLOAT NOT NULL, 
	probability FLOAT NOT NULL, 
	threshold FLOAT NOT NULL, 
	present BOOLEAN NOT NULL, 
	CONSTRAINT pk_findings PRIMARY KEY (instance_id, position), 
	CONSTRAINT uq_findings_instance_id_label UNIQUE (instance_id, label), 
	CONSTRAINT fk_findings_instance_id_instances FOREIGN KEY(instance_id) REFERENCES instances (id)
);
INSERT INTO "findings" VALUES(1,0,'Mass',1.5,0.8,0.5,1);
INSERT INTO "findings" VALUES(1,1,'Hernia',-4.0,0.02,0.5,0);
INSERT INTO "findings" VALUES(3,0,'Mass',1.5,0.8,0.5,1);
INSERT INTO "findings" VALUES(3,1,'Hernia',-4.0,0.02,0.5,0);
CREATE TABLE instances (
	id INTEGER NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	sop_class_uid TEXT NOT NULL, 
	transfer_syntax_uid TEXT NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	series_instance_uid TEXT NOT NULL, 
	patient_id TEXT NOT NULL, 
	accession_number TEXT NOT NULL, 
	study_date TEXT NOT NULL, 
	modality TEXT NOT NULL, 
	calling_ae_title TEXT NOT NULL, 
	spool_path TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	sha256 TEXT NOT NULL, 
	received_at DATETIME NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	reason TEXT, 
	detail TEXT, 
	notes JSON NOT NULL, 
	analysed_at DATETIME, 
	model_name TEXT, 
	model_version TEXT, 
	model_sha256 TEXT, 
	CONSTRAINT pk_instances PRIMARY KEY (id), 
	CONSTRAINT uq_instances_sop_instance_uid_revision UNIQUE (sop_instance_uid, revision), 
	CONSTRAINT uq_instances_sop_instance_uid_sha256 UNIQUE (sop_instance_uid, sha256)
);
INSERT INTO "instances" VALUES(1,'1.1',1,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.3','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','2026-03-01 12:00:00.000000','analysed',NULL,NULL,'["no PixelSpacing"]','2026-03-01 12:00:00.000000','starter','1','cd');
INSERT INTO "instances" VALUES(2,'1.2',1,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.3','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','2026-03-01 12:00:01.000000','not_analysed','LATERAL_VIEW','a lateral film','["no PixelSpacing"]','2026-03-01 12:00:05.000000',NULL,NULL,NULL);
INSERT INTO "instances" VALUES(3,'2.1',1,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.4','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','2026-03-01 12:00:19.000000','analysed',NULL,NULL,'["no PixelSpacing"]','2026-03-01 12:00:00.000000','starter','1','cd');
INSERT INTO "instances" VALUES(4,'2.1',2,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.4','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'0bb6de8237e3afd2c19546f25cec9176c09c74b464d1254793058f396d512bed','2026-03-01 12:00:22.000000','received',NULL,NULL,'[]',NULL,NULL,NULL,NULL);
CREATE TABLE jobs (
	id INTEGER NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	subject TEXT NOT NULL, 
	lane TEXT, 
	state VARCHAR(32) NOT NULL, 
	attempts INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	claims INTEGER NOT NULL, 
	not_before DATETIME NOT NULL, 
	worker TEXT, 
	lease_until DATETIME, 
	last_error TEXT, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT uq_jobs_kind_subject UNIQUE (kind, subject)
);
INSERT INTO "jobs" VALUES(1,'analyse','1',NULL,'done',1,1,1,'2026-03-01 12:00:00.000000',NULL,NULL,NULL,'2026-03-01 12:00:00.000000','2026-03-01 12:00:03.000000');
INSERT INTO "jobs" VALUES(2,'report','1.2.3',NULL,'done',1,2,1,'2026-03-01 12:00:01.000000',NULL,NULL,NULL,'2026-03-01 12:00:00.000000','2026-03-01 12:00:07.000000');
INSERT INTO "jobs" VALUES(3,'analyse','2',NULL,'done',1,1,1,'2026-03-01 12:00:01.000000',NULL,NULL,NULL,'2026-03-01 12:00:01.000000','2026-03-01 12:00:05.000000');
INSERT INTO "jobs" VALUES(4,'deliver','9.9@PACS','PACS','done',1,1,1,'2026-03-01 12:00:07.000000',NULL,NULL,NULL,'2026-03-01 12:00:07.000000','2026-03-01 12:00:09.000000');
INSERT INTO "jobs" VALUES(5,'deliver','9.9@ARCHIVE','ARCHIVE','parked',1,1,1,'2026-03-01 12:00:07.000000',NULL,NULL,'status 0xA900: not wanted','2026-03-01 12:00:07.000000','2026-03-01 12:00:13.000000');
INSERT INTO "jobs" VALUES(6,'deliver','5.1@PACS','PACS','done',1,1,1,'2026-03-01 12:00:07.000000',NULL,NULL,NULL,'2026-03-01 12:00:07.000000','2026-03-01 12:00:11.000000');
INSERT INTO "jobs" VALUES(7,'deliver','5.1@ARCHIVE','ARCHIVE','queued',0,1,0,'2026-03-01 12:00:07.000000',NULL,NULL,NULL,'2026-03-01 12:00:07.000000','2026-03-01 12:00:07.000000');
INSERT INTO "jobs" VALUES(8,'commit','1.2.3@PACS','PACS','running',1,3,1,'2026-03-01 12:00:16.000000','worker','2026-03-01 12:01:14.000000',NULL,'2026-03-01 12:00:09.000000','2026-03-01 12:00:16.000000');
INSERT INTO "jobs" VALUES(9,'answer','1','modality','done',1,1,1,'2026-03-01 12:00:17.000000',NULL,NULL,NULL,'2026-03-01 12:00:17.000000','2026-03-01 12:00:18.000000');
INSERT INTO "jobs" VALUES(10,'analyse','3',NULL,'done',1,1,1,'2026-03-01 12:00:19.000000',NULL,NULL,NULL,'2026-03-01 12:00:19.000000','2026-03-01 12:00:21.000000');
INSERT INTO "jobs" VALUES(11,'report','1.2.4',NULL,'queued',0,2,0,'2026-03-01 12:00:22.000000',NULL,NULL,NULL,'2026-03-01 12:00:19.000000','2026-03-01 12:00:22.000000');
INSERT INTO "jobs" VALUES(12,'analyse','4',NULL,'running',1,1,1,'2026-03-01 12:00:22.000000','analyst','2026-03-01 12:01:23.000000',NULL,'2026-03-01 12:00:22.000000','2026-03-01 12:00:23.000000');
CREATE TABLE objects (
	id INTEGER NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	sop_class_uid TEXT NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	instance_id INTEGER, 
	label TEXT, 
	spool_path TEXT NOT NULL, 
	size BIGINT NOT NULL, 
	sha256 TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_objects PRIMARY KEY (id), 
	CONSTRAINT uq_objects_sop_instance_uid UNIQUE (sop_instance_uid), 
	CONSTRAINT fk_objects_instance_id_instances FOREIGN KEY(instance_id) REFERENCES instances (id)
);
INSERT INTO "objects" VALUES(1,'5.1','1.2.840.10008.5.1.4.1.1.88.34','heatmap','1.2.3',1,'Mass','objects/5.1',9,'ab','2026-03-01 12:00:03.000000');
INSERT INTO "objects" VALUES(2,'9.9','1.2.840.10008.5.1.4.1.1.88.34','report','1.2.3',NULL,NULL,'objects/9.9',9,'ab','2026-03-01 12:00:07.000000');
CREATE TABLE studies (
	study_instance_uid TEXT NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	detail TEXT NOT NULL, 
	updated_at DATETIME NOT NULL, 
	CONSTRAINT pk_studies PRIMARY KEY (study_instance_uid)
);
INSERT INTO "studies" VALUES('1.2.3','reported','','2026-03-01 12:00:07.000000');
CREATE INDEX ix_jobs_due ON jobs (state, not_before, id, kind);
CREATE INDEX ix_jobs_due_in_lane ON jobs (state, lane, not_before, id, kind);
CREATE INDEX ix_instances_study ON instances (study_instance_uid);
CREATE INDEX ix_instances_received ON instances (received_at, id);
CREATE INDEX ix_objects_study ON objects (study_instance_uid);
CREATE INDEX ix_objects_instance ON objects (instance_id);
CREATE INDEX ix_commitment_requests_study ON commitment_requests (study_instance_uid, destination);
CREATE INDEX ix_commitment_items_object ON commitment_items (sop_instance_uid);
CREATE INDEX ix_commitment_inquiries_transaction ON commitment_inquiries (transaction_uid, peer);
COMMIT;
