BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0008');
CREATE TABLE audit_events (
	number INTEGER NOT NULL, 
	recorded_at TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	actor TEXT NOT NULL, 
	host TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	previous_hash TEXT NOT NULL, 
	hash TEXT NOT NULL, 
	CONSTRAINT pk_audit_events PRIMARY KEY (number)
);
INSERT INTO "audit_events" VALUES(1,'2026-03-01T12:00:00.000000Z','instance_received','success','MODALITY','','study=1.2.3 instance=1.1 sop_class=1.2.840.10008.5.1.4.1.1.1.1','new, revision 1, sha256 6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','0000000000000000000000000000000000000000000000000000000000000000','19b709a34b377e7b1099799e9eca2a9e8220a59b2f71744c2a001b8c645b2700');
INSERT INTO "audit_events" VALUES(2,'2026-03-01T12:00:01.000000Z','instance_received','success','MODALITY','','study=1.2.3 instance=1.2 sop_class=1.2.840.10008.5.1.4.1.1.1.1','new, revision 1, sha256 6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','19b709a34b377e7b1099799e9eca2a9e8220a59b2f71744c2a001b8c645b2700','92be0b0f740b47630cfc1ee692945e5bc2d8d4311ce9e0fdba488c75b040c3b3');
INSERT INTO "audit_events" VALUES(3,'2026-03-01T12:00:03.000000Z','instance_analysed','success','worker','','study=1.2.3 instance=1.1 sop_class=1.2.840.10008.5.1.4.1.1.1.1 revision=1','Mass 0.80 (4.0 times the odds of its threshold 0.50); model starter 1, sha256 cd','92be0b0f740b47630cfc1ee692945e5bc2d8d4311ce9e0fdba488c75b040c3b3','540d12f5a62990e4707a259648d25c73d29dec50ba2e797a31cac9d6618082e6');
INSERT INTO "audit_events" VALUES(4,'2026-03-01T12:00:05.000000Z','instance_not_analysed','success','worker','','study=1.2.3 instance=1.2 sop_class=1.2.840.10008.5.1.4.1.1.1.1 revision=1','LATERAL_VIEW','540d12f5a62990e4707a259648d25c73d29dec50ba2e797a31cac9d6618082e6','14ca64b877b0d1b5e8367197f808ba73c29050052278e4fa99871a3d5ebe5e5d');
INSERT INTO "audit_events" VALUES(5,'2026-03-01T12:00:07.000000Z','study_reported','success','worker','','study=1.2.3 object=9.9 sop_class=1.2.840.10008.5.1.4.1.1.88.34','reported, 4 delivery(ies)','14ca64b877b0d1b5e8367197f808ba73c29050052278e4fa99871a3d5ebe5e5d','fdac74b6e8a050fb44fc48616e5d9342e669c4d386de9095ed3976b4f834e21e');
INSERT INTO "audit_events" VALUES(6,'2026-03-01T12:00:09.000000Z','object_delivered','success','PACS','','study=1.2.3 object=9.9 sop_class=1.2.840.10008.5.1.4.1.1.88.34','status 0x0000','fdac74b6e8a050fb44fc48616e5d9342e669c4d386de9095ed3976b4f834e21e','c10641c1b545fd251c3c8dd6f54c5002c0848f42eff1fd83c2e4f7853c3c3b6b');
INSERT INTO "audit_events" VALUES(7,'2026-03-01T12:00:11.000000Z','object_delivered','success','PACS','','study=1.2.3 object=5.1 sop_class=1.2.840.10008.5.1.4.1.1.88.34','status 0x0000','c10641c1b545fd251c3c8dd6f54c5002c0848f42eff1fd83c2e4f7853c3c3b6b','360a409bb30bbc6dab309ef6b788e6600f2dc87e73145516dc3fb636b11c0a29');
INSERT INTO "audit_events" VALUES(8,'2026-03-01T12:00:13.000000Z','job_parked','failure','ARCHIVE','','job=5 study=1.2.3 object=9.9','deliver','360a409bb30bbc6dab309ef6b788e6600f2dc87e73145516dc3fb636b11c0a29','3dda0a74ca254d30e555a9c0a10376bed768075341b56d0f2aa6cb8b9d83575b');
INSERT INTO "audit_events" VALUES(9,'2026-03-01T12:00:16.000000Z','commitment_received','failure','PACS','','study=1.2.3 transaction=2.25.1','1 committed, 0 sent again, 1 refused','3dda0a74ca254d30e555a9c0a10376bed768075341b56d0f2aa6cb8b9d83575b','ac284511c78da37b63324e5b4134c69410d5efaa9570f3e983bc5ea41f97f10f');
INSERT INTO "audit_events" VALUES(10,'2026-03-01T12:00:18.000000Z','commitment_given','success','modality','','transaction=2.25.2','','ac284511c78da37b63324e5b4134c69410d5efaa9570f3e983bc5ea41f97f10f','c3ee5db467d1fd4fb5d100d87fed5a19710ce111b74cae7a509136cc76fe7900');
INSERT INTO "audit_events" VALUES(11,'2026-03-01T12:00:19.000000Z','instance_received','success','MODALITY','','study=1.2.4 instance=2.1 sop_class=1.2.840.10008.5.1.4.1.1.1.1','new, revision 1, sha256 6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','c3ee5db467d1fd4fb5d100d87fed5a19710ce111b74cae7a509136cc76fe7900','6e65cc0ba0c1ce9c3e103f7fa267132fffc41cea48850b6ee88116b6e4a860a3');
INSERT INTO "audit_events" VALUES(12,'2026-03-01T12:00:21.000000Z','instance_analysed','success','worker','','study=1.2.4 instance=2.1 sop_class=1.2.840.10008.5.1.4.1.1.1.1 revision=1','Mass 0.80 (4.0 times the odds of its threshold 0.50); model starter 1, sha256 cd','6e65cc0ba0c1ce9c3e103f7fa267132fffc41cea48850b6ee88116b6e4a860a3','194f650b0c2a750372800a14ac6c4250b201b9e1e092cc2aafcd4957ad6d94e4');
INSERT INTO "audit_events" VALUES(13,'2026-03-01T12:00:22.000000Z','instance_received','success','MODALITY','','study=1.2.4 instance=2.1 sop_class=1.2.840.10008.5.1.4.1.1.1.1','revision, revision 2, sha256 0bb6de8237e3afd2c19546f25cec9176c09c74b464d1254793058f396d512bed','194f650b0c2a750372800a14ac6c4250b201b9e1e092cc2aafcd4957ad6d94e4','12a95cab56c2bc45a8b8555dc12ea415bb5cbfefb978b682f5b00d656c10eee4');
CREATE TABLE audit_readers (
	name TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	holder TEXT NOT NULL, 
	held_until DATETIME NOT NULL, 
	CONSTRAINT pk_audit_readers PRIMARY KEY (name)
);
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
	sop_class_uid TEXT, committed_at DATETIME, coerced_uid TEXT, held_at DATETIME, 
	CONSTRAINT pk_deliveries PRIMARY KEY (sop_instance_uid, destination), 
	CONSTRAINT uq_deliveries_job_id UNIQUE (job_id), 
	CONSTRAINT fk_deliveries_sop_instance_uid_objects FOREIGN KEY(sop_instance_uid) REFERENCES objects (sop_instance_uid), 
	CONSTRAINT fk_deliveries_job_id_jobs FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "deliveries" VALUES('9.9','PACS',4,'2026-03-01 12:00:09.000000',0,NULL,'2026-03-01 12:00:16.000000',NULL,NULL);
INSERT INTO "deliveries" VALUES('9.9','ARCHIVE',5,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES('5.1','PACS',6,'2026-03-01 12:00:11.000000',0,NULL,NULL,NULL,NULL);
INSERT INTO "deliveries" VALUES('5.1','ARCHIVE',7,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE findings (
	instance_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	logit FLOAT NOT NULL, 
	probability FLOAT NOT NULL, 
	threshold FLOAT NOT NULL, 
	present BOOLEAN NOT NULL, region JSON, 
	CONSTRAINT pk_findings PRIMARY KEY (instance_id, position), 
	CONSTRAINT uq_findings_instance_id_label UNIQUE (instance_id, label), 
	CONSTRAINT fk_findings_instance_id_instances FOREIGN KEY(instance_id) REFERENCES instances (id)
);
INSERT INTO "findings" VALUES(1,0,'Mass',1.5,0.8,0.5,1,'[[10.5, 20.5], [30.5, 20.25], [20.5, 40.5]]');
INSERT INTO "findings" VALUES(1,1,'Hernia',-4.0,0.02,0.5,0,NULL);
INSERT INTO "findings" VALUES(3,0,'Mass',1.5,0.8,0.5,1,'[[10.5, 20.5], [30.5, 20.25], [20.5, 40.5]]');
INSERT INTO "findings" VALUES(3,1,'Hernia',-4.0,0.02,0.5,0,NULL);
CREATE TABLE heat_maps (
	instance_id INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	heat BLOB NOT NULL, 
	CONSTRAINT pk_heat_maps PRIMARY KEY (instance_id, label), 
	CONSTRAINT fk_heat_maps_instance_id_instances FOREIGN KEY(instance_id) REFERENCES instances (id)
);
CREATE TABLE "instances" (
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
	purged_at DATETIME, 
	received_again_at DATETIME, 
	source TEXT DEFAULT '' NOT NULL, 
	issuer_of_patient_id TEXT, 
	patient_name TEXT, 
	patient_birth_date TEXT, 
	patient_sex TEXT, 
	rejected_by TEXT, 
	set_aside_at DATETIME, view_position TEXT, priority INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_instances PRIMARY KEY (id), 
	CONSTRAINT uq_instances_source_sop_instance_uid_revision UNIQUE (source, sop_instance_uid, revision), 
	CONSTRAINT uq_instances_source_sop_instance_uid_sha256 UNIQUE (source, sop_instance_uid, sha256)
);
INSERT INTO "instances" VALUES(1,'1.1',1,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.3','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','2026-03-01 12:00:00.000000','analysed',NULL,NULL,'["no PixelSpacing"]','2026-03-01 12:00:00.000000','starter','1','cd',NULL,NULL,'','','','','',NULL,NULL,'',0);
INSERT INTO "instances" VALUES(2,'1.2',1,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.3','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','2026-03-01 12:00:01.000000','not_analysed','LATERAL_VIEW','a lateral film','["no PixelSpacing"]','2026-03-01 12:00:05.000000',NULL,NULL,NULL,NULL,NULL,'','','','','',NULL,NULL,'',0);
INSERT INTO "instances" VALUES(3,'2.1',1,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.4','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37','2026-03-01 12:00:19.000000','analysed',NULL,NULL,'["no PixelSpacing"]','2026-03-01 12:00:00.000000','starter','1','cd',NULL,NULL,'','','','','',NULL,NULL,'',0);
INSERT INTO "instances" VALUES(4,'2.1',2,'1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','1.2.4','1.2.3.9','P1','A1','20260301','DX','MODALITY','received/aa/aa.dcm',4,'0bb6de8237e3afd2c19546f25cec9176c09c74b464d1254793058f396d512bed','2026-03-01 12:00:22.000000','received',NULL,NULL,'[]',NULL,NULL,NULL,NULL,NULL,NULL,'','','','','',NULL,NULL,'',0);
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
	updated_at DATETIME NOT NULL, priority INTEGER DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT uq_jobs_kind_subject UNIQUE (kind, subject)
);
INSERT INTO "jobs" VALUES(1,'analyse','1',NULL,'done',1,1,1,'2026-03-01 12:00:00.000000',NULL,NULL,NULL,'2026-03-01 12:00:00.000000','2026-03-01 12:00:03.000000',0);
INSERT INTO "jobs" VALUES(2,'report','1.2.3@',NULL,'done',1,2,1,'2026-03-01 12:00:01.000000',NULL,NULL,NULL,'2026-03-01 12:00:00.000000','2026-03-01 12:00:07.000000',0);
INSERT INTO "jobs" VALUES(3,'analyse','2',NULL,'done',1,1,1,'2026-03-01 12:00:01.000000',NULL,NULL,NULL,'2026-03-01 12:00:01.000000','2026-03-01 12:00:05.000000',0);
INSERT INTO "jobs" VALUES(4,'deliver','9.9@PACS','PACS','done',1,1,1,'2026-03-01 12:00:07.000000',NULL,NULL,NULL,'2026-03-01 12:00:07.000000','2026-03-01 12:00:09.000000',0);
INSERT INTO "jobs" VALUES(5,'deliver','9.9@ARCHIVE','ARCHIVE','parked',1,1,1,'2026-03-01 12:00:07.000000',NULL,NULL,'status 0xA900: not wanted','2026-03-01 12:00:07.000000','2026-03-01 12:00:13.000000',0);
INSERT INTO "jobs" VALUES(6,'deliver','5.1@PACS','PACS','done',1,1,1,'2026-03-01 12:00:07.000000',NULL,NULL,NULL,'2026-03-01 12:00:07.000000','2026-03-01 12:00:11.000000',0);
INSERT INTO "jobs" VALUES(7,'deliver','5.1@ARCHIVE','ARCHIVE','queued',0,1,0,'2026-03-01 12:00:07.000000',NULL,NULL,NULL,'2026-03-01 12:00:07.000000','2026-03-01 12:00:07.000000',0);
INSERT INTO "jobs" VALUES(8,'commit','1.2.3@PACS','PACS','running',1,3,1,'2026-03-01 12:00:16.000000','worker','2026-03-01 12:01:14.000000',NULL,'2026-03-01 12:00:09.000000','2026-03-01 12:00:16.000000',0);
INSERT INTO "jobs" VALUES(9,'answer','1','modality','done',1,1,1,'2026-03-01 12:00:17.000000',NULL,NULL,NULL,'2026-03-01 12:00:17.000000','2026-03-01 12:00:18.000000',0);
INSERT INTO "jobs" VALUES(10,'analyse','3',NULL,'done',1,1,1,'2026-03-01 12:00:19.000000',NULL,NULL,NULL,'2026-03-01 12:00:19.000000','2026-03-01 12:00:21.000000',0);
INSERT INTO "jobs" VALUES(11,'report','1.2.4@',NULL,'queued',0,2,0,'2026-03-01 12:00:22.000000',NULL,NULL,NULL,'2026-03-01 12:00:19.000000','2026-03-01 12:00:22.000000',0);
INSERT INTO "jobs" VALUES(12,'analyse','4',NULL,'running',1,1,1,'2026-03-01 12:00:22.000000','analyst','2026-03-01 12:01:23.000000',NULL,'2026-03-01 12:00:22.000000','2026-03-01 12:00:23.000000',0);
CREATE TABLE leases (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	taken_at DATETIME NOT NULL, 
	until DATETIME NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
CREATE TABLE node_facts (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_node_facts PRIMARY KEY (name)
);
INSERT INTO "node_facts" VALUES('compatible_from','0008');
INSERT INTO "node_facts" VALUES('first_schema','0008');
CREATE TABLE nodes (
	name TEXT NOT NULL, 
	host TEXT NOT NULL, 
	role TEXT NOT NULL, 
	version TEXT NOT NULL, 
	schema TEXT NOT NULL, 
	config_digest TEXT NOT NULL, 
	state TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	since DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	CONSTRAINT pk_nodes PRIMARY KEY (name)
);
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
	created_at DATETIME NOT NULL, purged_at DATETIME, source TEXT DEFAULT '' NOT NULL, standing VARCHAR(32) DEFAULT 'valid' NOT NULL, form TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_objects PRIMARY KEY (id), 
	CONSTRAINT uq_objects_sop_instance_uid UNIQUE (sop_instance_uid), 
	CONSTRAINT fk_objects_instance_id_instances FOREIGN KEY(instance_id) REFERENCES instances (id)
);
INSERT INTO "objects" VALUES(1,'5.1','1.2.840.10008.5.1.4.1.1.88.34','heatmap','1.2.3',1,'Mass','objects/5.1',9,'ab','2026-03-01 12:00:03.000000',NULL,'','valid','');
INSERT INTO "objects" VALUES(2,'9.9','1.2.840.10008.5.1.4.1.1.88.34','report','1.2.3',NULL,NULL,'objects/9.9',9,'ab','2026-03-01 12:00:07.000000',NULL,'','valid','');
CREATE TABLE rejections (
	source TEXT DEFAULT '' NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	code TEXT NOT NULL, 
	note_uid TEXT NOT NULL, 
	received_at DATETIME NOT NULL, 
	CONSTRAINT pk_rejections PRIMARY KEY (source, sop_instance_uid, note_uid)
);
CREATE TABLE reviews (
	id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	sop_instance_uid TEXT NOT NULL, 
	instance_id INTEGER NOT NULL, 
	label TEXT NOT NULL, 
	verdict VARCHAR(32), 
	present BOOLEAN, 
	remark TEXT NOT NULL, 
	reviewer TEXT NOT NULL, 
	reviewed_at DATETIME NOT NULL, 
	CONSTRAINT pk_reviews PRIMARY KEY (id), 
	CONSTRAINT fk_reviews_instance_id_instances FOREIGN KEY(instance_id) REFERENCES instances (id)
);
CREATE TABLE "studies" (
	study_instance_uid TEXT NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	detail TEXT NOT NULL, 
	updated_at DATETIME NOT NULL, 
	source TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_studies PRIMARY KEY (source, study_instance_uid)
);
INSERT INTO "studies" VALUES('1.2.3','reported','','2026-03-01 12:00:07.000000','');
CREATE TABLE study_summaries (
	id INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	study_instance_uid TEXT NOT NULL, 
	patient_id TEXT NOT NULL, 
	patient_name TEXT NOT NULL, 
	patient_sex TEXT NOT NULL, 
	patient_birth_date TEXT NOT NULL, 
	accession_number TEXT NOT NULL, 
	study_date TEXT NOT NULL, 
	modality TEXT NOT NULL, 
	senders TEXT NOT NULL, 
	reasons TEXT NOT NULL, 
	positives TEXT NOT NULL, 
	mark TEXT NOT NULL, 
	patient_key TEXT NOT NULL, 
	name_key TEXT NOT NULL, 
	accession_key TEXT NOT NULL, 
	films INTEGER NOT NULL, 
	analysed INTEGER NOT NULL, 
	first_received_at DATETIME NOT NULL, 
	last_received_at DATETIME NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	CONSTRAINT pk_study_summaries PRIMARY KEY (id), 
	CONSTRAINT uq_study_summaries_study_instance_uid_source UNIQUE (study_instance_uid, source)
);
INSERT INTO "study_summaries" VALUES(1,'','1.2.3','P1','','','','A1','20260301','DX','MODALITY','["LATERAL_VIEW"]','[["Mass",0.8]]','','p1','','a1',2,1,'2026-03-01 12:00:00.000000','2026-03-01 12:00:01.000000','parked');
INSERT INTO "study_summaries" VALUES(2,'','1.2.4','P1','','','','A1','20260301','DX','MODALITY','[]','[]','','p1','','a1',1,0,'2026-03-01 12:00:19.000000','2026-03-01 12:00:22.000000','waiting');
CREATE TABLE web_sessions (
	digest TEXT NOT NULL, 
	user TEXT NOT NULL, 
	role TEXT NOT NULL, 
	csrf TEXT NOT NULL, 
	entry TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	ends_at DATETIME NOT NULL, 
	idle_at DATETIME NOT NULL, 
	CONSTRAINT pk_web_sessions PRIMARY KEY (digest)
);
CREATE TABLE web_tokens (
	name TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_web_tokens PRIMARY KEY (name)
);
CREATE INDEX ix_jobs_due ON jobs (state, not_before, id, kind);
CREATE INDEX ix_jobs_due_in_lane ON jobs (state, lane, not_before, id, kind);
CREATE INDEX ix_objects_study ON objects (study_instance_uid);
CREATE INDEX ix_objects_instance ON objects (instance_id);
CREATE INDEX ix_commitment_requests_study ON commitment_requests (study_instance_uid, destination);
CREATE INDEX ix_commitment_items_object ON commitment_items (sop_instance_uid);
CREATE INDEX ix_commitment_inquiries_transaction ON commitment_inquiries (transaction_uid, peer);
CREATE TRIGGER audit_events_keep_update BEFORE UPDATE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_events_keep_delete BEFORE DELETE ON audit_events
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_events_number BEFORE INSERT ON audit_events
    WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM audit_events)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is numbered without a gap'); END;
CREATE INDEX ix_objects_spool_path ON objects (spool_path);
CREATE INDEX ix_instances_spool_path ON instances (spool_path);
CREATE INDEX ix_instances_study ON instances (study_instance_uid);
CREATE INDEX ix_instances_received ON instances (received_at, id);
CREATE INDEX ix_instances_sop_instance_uid ON instances (sop_instance_uid);
CREATE INDEX ix_deliveries_coerced_uid ON deliveries (coerced_uid);
CREATE INDEX ix_instances_unnamed ON instances (source, study_instance_uid, patient_id) WHERE patient_name IS NULL;
CREATE INDEX ix_audit_events_settings ON audit_events (kind, host, number) WHERE kind IN ('configuration_changed', 'sources_adopted');
CREATE INDEX ix_reviews_instance ON reviews (instance_id, label, reviewer, id);
CREATE INDEX ix_jobs_failed ON jobs (not_before, id, kind, lane) WHERE state = 'queued' AND attempts > 0;
CREATE INDEX ix_instances_analysed ON instances (analysed_at, state) WHERE analysed_at IS NOT NULL;
CREATE INDEX ix_objects_reports ON objects (created_at, form, kind) WHERE kind = 'report';
CREATE INDEX ix_deliveries_delivered ON deliveries (destination, delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX ix_audit_events_acts ON audit_events (subject) WHERE kind IN ('job_parked', 'job_retried', 'job_discarded', 'study_held', 'study_released', 'analysis_requested', 'delivery_requested');
CREATE INDEX ix_audit_events_kind ON audit_events (kind, number);
CREATE INDEX ix_audit_events_recorded ON audit_events (recorded_at, number);
CREATE INDEX ix_audit_events_failures ON audit_events (number, kind) WHERE outcome = 'failure';
CREATE INDEX ix_study_summaries_received ON study_summaries (last_received_at, id);
CREATE INDEX ix_study_summaries_date ON study_summaries (study_date, id);
CREATE INDEX ix_study_summaries_patient ON study_summaries (patient_id, id);
CREATE INDEX ix_study_summaries_name ON study_summaries (name_key, id);
CREATE INDEX ix_study_summaries_accession ON study_summaries (accession_number, id);
CREATE INDEX ix_study_summaries_state ON study_summaries (state, last_received_at, id);
CREATE INDEX ix_jobs_queued ON jobs (kind, priority, not_before, id) WHERE state = 'queued' AND coalesce(lane, '') = '';
CREATE INDEX ix_jobs_queued_in_lane ON jobs (lane, kind, priority, not_before, id) WHERE state = 'queued' AND lane IS NOT NULL;
COMMIT;
