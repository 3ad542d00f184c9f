BEGIN TRANSACTION;
CREATE TABLE answers (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL, tokens_in INTEGER, tokens_out INTEGER
) WITHOUT ROWID;
INSERT INTO "answers" VALUES(X'08F07F3770A10B1E0482EE1E73335207998928E22952F9FFEB693ECA9CDF2A28','a hound next to','length',10,5);
INSERT INTO "answers" VALUES(X'571C3B7C2E0F902EF5838DAA100968E2A3E2161CFEFD406C54DCA92C96CAB747','here a dog beside number 104','stop',10,5);
INSERT INTO "answers" VALUES(X'A4D602D87C41469544EA08FE2F55B3EE7C98A086A79973F975D556968D3AB3DB','I''m sorry, but I can''t help with that.','stop',10,5);
INSERT INTO "answers" VALUES(X'AA1B790BEFB98780557CE31BBA05EC5D6AB765A122CC5738220222230E3B8302','notices here a dog beside number 104','stop',10,5);
INSERT INTO "answers" VALUES(X'B5337CB2640EC3C48B1A4D133336D3088CDD512916AB0BF12C55A2114F196B52','indeed notices a dog beside number 100','stop',10,5);
INSERT INTO "answers" VALUES(X'C364CC445EACFAD29B6547F52729C09A3494E8AAE54F6DDBC85DA7CB3523D65C','perhaps a dog beside number 101','stop',10,5);
INSERT INTO "answers" VALUES(X'D7A2DC2AB93C8C5395D02E66DE975EA93C5B9837698BF0B2905058FA59AC177C','notices a dog beside number 100','stop',10,5);
INSERT INTO "answers" VALUES(X'FFC65FBAD031E29DCC640560F450863830950A409A2A78A50A8BA763C08107A6','here perhaps a dog beside number 101','stop',10,5);
CREATE TABLE recipes (id INTEGER PRIMARY KEY, recipe TEXT NOT NULL UNIQUE);
INSERT INTO "recipes" VALUES(1,'{"generator": "openai", "limits": {"max_length_ratio": 3.0, "max_similarity": 1.0, "max_words": 15, "min_similarity": -1.0, "min_words": 2}, "model": "m", "prompts": ["Paraphrase the given caption \"{}\" concisely while preserving the meaning.", "Paraphrase the given text \"{}\" concisely while preserving the meaning and avoiding use of existing words."], "sampling": {"max_tokens": 16, "temperature": 1.0, "top_p": 0.1}, "similarity_model": null}');
CREATE TABLE rows (
    idx INTEGER PRIMARY KEY, recipe INTEGER NOT NULL REFERENCES recipes, image_id TEXT NOT NULL, caption TEXT NOT NULL,
    paraphrase_1 TEXT, paraphrase_2 TEXT, status TEXT NOT NULL, reason TEXT
);
INSERT INTO "rows" VALUES(0,1,'0','a dog beside number 100','notices a dog beside number 100','indeed notices a dog beside number 100','done',NULL);
INSERT INTO "rows" VALUES(1,1,'1','a dog beside number 101','perhaps a dog beside number 101','here perhaps a dog beside number 101','done',NULL);
INSERT INTO "rows" VALUES(2,1,'2','a dog beside number 102',NULL,NULL,'rejected','step 1: truncated');
INSERT INTO "rows" VALUES(3,1,'3','a dog beside number 103',NULL,NULL,'rejected','step 1: refused');
INSERT INTO "rows" VALUES(4,1,'4','a dog beside number 104','here a dog beside number 104','notices here a dog beside number 104','done',NULL);
COMMIT;
