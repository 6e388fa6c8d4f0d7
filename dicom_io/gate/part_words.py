"""The words for body parts that the gate knows, with their language.

An entry is a word or several words in natural spelling; `*` at its end means any ending. Commas
separate entries. `vocabulary` folds accents, case and punctuation. Where two entries fit, the
longest one counts, so that "chest wall" is not "chest".
"""

CHEST = {
    "en": "chest*, mediastinum, cxr, pcxr, thorax, thx, lung, lungs, heart, pleura*, neckchest*",
    "en, spelt wrong": "cheast, chset, ches, chst, thorx, torx, thoarx",
    "de": "thorax*, brust, brustkorb*, brustraum, lunge, lungen*, rö thorax, herz lunge",
    "fr": "poumon*, cage thoracique, cliché thoracique, cœur, radio pulmonaire",
    "es": "tórax, pecho, pulmón, pulmones, tele de tórax, teletórax, corazón",
    "ca": "tòrax, pulmons",
    "it": "torace, polmon*, toracica standard, cuore",
    "pt": "tórax, peito, pulmão, pulmões, coração",
    "ro": "torace, toracele, piept, plămân*",
    "nl": "borstkas, longen, x thorax, hart longen, longfoto",
    "sv, no, da": "bröstkorg*, lungor, brystkasse*, brystkasse, hjerte lunger, lunger",
    "fi, et": "rintakehä*, keuhko*, rindkere*, kopsud, kopsu*",
    "pl": "klatka piersiowa, klatki piersiowej, klatka, klp, kl piers, płuca, płuc",
    "cs, sk": "hrudník*, hrudnik*, plíce, plic, srdce a plíce, pľúca, hrudný kôš",
    "hr, sr, sl": "toraks, grudni koš*, grudnog koša, prsni koš, srce i pluća, pluća, pljuča",
    "hu": "mellkas*, tüdő*",
    "lt, lv": "krūtinė, krūtinės ląsta, krūtinės ląstos, plaučiai, plaučių, krūškurvis, plaušas",
    "tr": "göğüs, toraks, akciğer*, pa ac",
    "vi, id": "ngực, ngực thẳng, phổi, toraks, dada, paru, paru paru",
    "ru, uk, bg": "грудная клетка, грудной клетки, грудь, огк, ргк, легкие, лёгких, легких, "
    "легени, торакс, органов грудной, грудна клітка, гръден кош, бял дроб, флюорография, флг",
    "sr": "грудни кош, плућа, срце и плућа",
    "el": "θώρακας, θώρακος, θώρακα, πνεύμον*",
    "ja, zh, ko": "胸, 肺, 心肺, 胸写, キョウブ, ムネ, 흉부, 가슴, 폐",
    "ar, fa, he": "صدر, الصدر, صدري, قفسه سینه, חזה, ריאות",
    "a gap for a letter": "t rax, pulm n, hrudn k",
}

# Of the chest, unless the text names the spine too.
THORACIC = {
    "en": "thoracic, pulmonary, pulm, intrathoracic",
    "de": "thorakal*, pulmonal*",
    "fr": "thoracique*, pulmonaire*",
    "es, it, pt, ro": "torácic*, toracic*, pulmonar*, polmonare, pleuropulmonar*",
    "nl": "thoracaal, thoracale, pulmonaal",
    "pl, cs, sk, hr": "piersiow*, hrudní, hrudna, hrudná, hrudny, grudni, grudna, torakaln*",
    "ru, uk": "грудной, грудного, грудного отдела, грудний, торакальн*",
}

SPINE = {
    "en": "spine, spinal, vertebra*, t spine, tspine, th spine, thoracic spine, spine thoracic, "
    "thorax spine, l spine, lspine, c spine, cspine, cervical, lumbar, lumbosacral, sacrum, "
    "coccyx, thoracolumb*, cervicothoracic, scoliosis, sacroiliac, whole spine, tl spine, "
    "dorsal spine, dspine, backbone",
    "de": "wirbel*, brustwirbel*, halswirbel*, lendenwirbel*, bws, hws, lws, wirbelsäule*, "
    "kreuzbein, steißbein, skoliose, isg, os sacrum",
    "fr": "rachis, colonne, vertèbre*, dorsolombaire, lombaire*, lombo sacré, scoliose, sacrum",
    "es, ca": "columna*, dorsolumbar, sacro, cóccix, lumbosacra, escoliosis, raquis",
    "it": "rachide, colonna, lombare, lombosacral*, sacro, cervicale, coccige",
    "pt": "coluna*, lombar, lombossacra, sacro, cóccix, escoliose",
    "nl": "wervel*, wervelkolom, twk, lwk, cwk, heiligbeen",
    "sv, no, da": "rygg, ryggrad, bröstrygg*, ländrygg*, halsrygg*, brystrygg, columna, "
    "thorakalcolumna, brysthvirvel*, ryg",
    "fi, et": "selkä*, rintaranka*, lanneranka*, kaularanka*, lülisammas, lülisamba",
    "pl": "kręgosłup*, kregoslup*, lędźwi*, szyjn*, krzyż*",
    "cs, sk": "páteř*, chrbtica, chrbtic*, bederní, krční, obratl*",
    "hr, sr, sl": "kralježnic*, kičma, kičmen*, hrbtenic*, slabinsk*, vratna kralj*",
    "hu": "gerinc*, háti gerinc",
    "tr": "vertebra, omurga, torakal vertebra, lomber, servikal",
    "ro": "coloană, coloana",
    "ru, uk, bg": "позвоночник*, позвонк*, хребт*, хребет, поясничн*, шейн*, шийн*, гръбнач*",
    "el": "σπονδυλ*, σπονδυλική στήλη, οσφυ*",
    "ja, zh, ko": "脊椎, 脊柱, 胸椎, 胸腰椎, 腰椎, 頚椎, 頸椎, 颈椎, 仙骨, 骶骨, 全脊柱, 척추, "
    "흉추, 요추, 경추",
    "ar, he": "العمود الفقري, עמוד שדרה",
}

OTHER_PART = {
    "en, trunk": "abdomen, abdominal, abdo, abd, kub, pelvis, pelvic, abdomenpelvis, bladder, "
    "kidney, kidneys, ureter*, urinary, stomach, colon, bowel, liver, esophag*, oesophag*, "
    "uterus, hysterosalping*, urogra*, ivp, ivu, cystogra*, barium swallow",
    "en, head": "head, skull, cranium, brain, facial, face bones, nasal, nose, sinus, sinuses, "
    "orbit, orbits, orbital, mandible, maxilla, jaw, tmj, mastoid, mastoids, zygoma, neck, "
    "larynx, pharynx, nasopharynx, adenoid*, teeth, tooth, dental, dentition, bitewing, "
    "panoramic, panorex, orthopantomogra*, opg, periapical, cephalo*, intraoral, eye, eyes, ear",
    "en, breast": "breast, breasts, mammo, mammogra*, mammary, tomosynthesis breast",
    "en, arm": "shoulder*, clavicle*, scapula*, acromioclavicular, ac joint, ac joints, "
    "sternoclavicular, humerus, arm, arms, upper arm, elbow*, forearm*, radius, ulna, wrist*, "
    "carpal, scaphoid, hand, hands, finger*, thumb*, upper extremity, extremity, extremities, "
    "extremety, bone age",
    "en, leg": "hip, hips, femur, femora, femoral, thigh, knee, knees, patella*, leg, legs, "
    "tibia, fibula, tibfib, ankle*, foot, feet, heel*, calcaneus, toe, toes, lower extremity, "
    "lower limb",
    "en, ribs": "rib, ribs, rib series, sternum, manubrium, costal",
    "de, trunk": "bauch, abdomen*, becken*, beckenübersicht, niere*, blase, magen, darm, "
    "ösophagus, breischluck, hüfte*, hüftgelenk*, bauchraum",
    "de, head": "schädel*, kopf, hirn, gesicht*, nase, nasennebenhöhle*, nnh, nasenbein, kiefer*, "
    "unterkiefer, oberkiefer, zahn, zähne*, zahn*, orbita, hals, halsweichteile, ohr, auge",
    "de, breast": "mamma, mammae, mammogra*, brustdrüse*",
    "de, arm": "schulter*, schlüsselbein, clavicula, klavikula, schulterblatt, skapula, oberarm*, "
    "ellenbogen*, ellbogen*, unterarm*, handgelenk*, handwurzel*, mittelhand, daumen*, ulna",
    "de, leg": "oberschenkel*, knie*, kniegelenk*, unterschenkel*, sprunggelenk*, fuß, füße, "
    "fuss*, vorfuß, mittelfuß, ferse*, fersenbein, zeh, zehe, zehen, großzehe, bein, beine, "
    "patella, osg",
    "de, ribs": "rippe, rippen*, knöcherner thorax, knöcherner hemithorax, hemithorax knöchern, "
    "sternum, brustbein, hemithorax rippen",
    "fr": "abdomen, abdominal*, asp, bassin, hanche*, pelvien, crâne*, massif facial, mâchoire, "
    "mandibule, dent, dents, dentaire, panoramique dentaire, sinus, cou, larynx, mammographie, "
    "sein, seins, épaule*, clavicule*, omoplate, humérus, bras, avant bras, coude*, poignet*, "
    "main droite, main gauche, mains, doigt*, pouce, fémur*, cuisse, genou*, rotule, jambe*, "
    "cheville*, pied, pieds, calcanéum, orteil*, côte, côtes, gril costal, sternum, thorax osseux",
    "es, ca": "abdomen, abdominal, pelvis, pelvi*, cadera*, cráneo*, crani, cabeza, mandíbula, "
    "diente*, dental, senos paranasales, cuello, mama, mamas, mamografía, hombro*, clavícula, "
    "escápula, húmero, brazo, antebrazo, codo*, muñeca*, mano, manos, dedo*, pulgar, fémur, "
    "muslo, rodilla*, rótula, pierna*, tobillo*, pie, pies, talón, costilla*, parrilla costal, "
    "esternón, genoll, espatlla",
    "it": "addome, addominale, bacino, pelvi, anca, anche, cranio, mandibola, dente, denti, "
    "dentale, ortopanoramica, seni paranasali, collo, mammella, mammografia, spalla*, clavicola, "
    "scapola, omero, braccio, avambraccio, gomito*, polso, polsi, mano, pollice, femore, coscia, "
    "ginocchio, ginocchia, rotula, gamba, gambe, caviglia, piede, piedi, calcagno, coste, "
    "emicostato, gabbia costale, sterno, costato",
    "pt": "abdome, abdómen, abdome*, bacia, pelve, pélvis, quadril, anca, crânio, cabeça, "
    "mandíbula, dente, dentes, dentária, panorâmica, seios da face, pescoço, mama, mamas, "
    "mamografia, ombro*, clavícula, escápula, úmero, braço, antebraço, cotovelo*, punho, mão, "
    "mãos, dedo*, polegar, fêmur, coxa, joelho*, patela, perna*, tornozelo*, calcâneo, pés, "
    "pé direito, pé esquerdo, costela*, arcos costais, esterno",
    "ro": "bazin, craniu, umăr, mână, genunchi, gleznă, picior, coaste, claviculă, șold, dinți",
    "nl": "buik, buikoverzicht, bekken*, heup*, schedel*, hoofd, aangezicht, kaak, gebit, tand, "
    "tanden, hals, mammografie, schouder*, sleutelbeen, bovenarm*, elleboog*, onderarm, pols, "
    "vinger*, duim, hand, bovenbeen, knie*, onderbeen, enkel*, voet*, hiel, teen, tenen, ribben, "
    "borstbeen",
    "sv, no, da": "buk, buköversikt, mage, bäcken*, bekken*, bækken*, höft*, hofte*, skalle, "
    "kranium, kraniet, huvud, hode, hoved, käke, tänder, tenner, tænder, mammografi, axlar, "
    "skulder*, nyckelben, kragebein, armbåge, albue, underarm, handled, håndledd, håndled, hånd, "
    "finger*, knä, kne, knæ, lårben, fotled, ankel*, fot, fod, revben, ribbein, ribben, brystben",
    "fi, et": "vatsa*, lantio*, lonkka*, kallo*, hampaat, leuka, mammografia, olkapää, olka*, "
    "solisluu, kyynär*, ranne*, käsi, sormi, polvi*, nilkka*, jalka*, jalkaterä, kylki*, kõht, "
    "vaagen, puus, kolju, põlv, õlg, hüppeliiges, ribid, roided",
    "pl": "jama brzuszna, jamy brzusznej, brzuch*, miednic*, biodr*, czaszk*, głow*, żuchw*, "
    "zęby, ząb, zębów, zatok*, szyja, mammografi*, bark, barku, obojczyk*, łopatk*, ramię, "
    "ramienia, łok*, przedrami*, nadgarst*, dłoń, dłoni, ręk*, palec, palce, kciuk, uda, kolan*, "
    "podudzi*, goleń, stopa, stopy, staw skokowy, pięt*, żebr*, mostek, mostka",
    "cs, sk": "břich*, bruch*, pánev, pánve, panv*, kyčel*, kyčl*, lebk*, hlav*, čelist, zub, "
    "zuby, krk, mamografi*, rameno, ramen*, klíční kost, klíček, loket, lokt*, lakeť, předloktí, "
    "zápěst*, ruka, ruky, prst*, palec, stehn*, kolen*, bérec, bérc*, predkolen*, hlezno, členok, "
    "noha, nohy, pata, žebr*, žebra, rebrá, rebra, sternum",
    "hr, sr, sl": "trbuh*, zdjelic*, karlic*, medenic*, kuk, kukov*, kolk, lubanj*, lobanj*, "
    "glav*, zubi, zob*, mamografij*, ramena, ključn*, lakat, komolec, podlaktic*, šaka, šake, "
    "dlan, koljen*, kolen*, gležanj, gleženj, stopal*, rebra, grudna kost",
    "hu": "hasi, medence*, csípő*, koponya*, fej, állkapocs, nyak, mammográfia, emlő*, váll*, "
    "kulcscsont*, könyök*, csukló*, comb, combcsont, combnyak, lábszár*, lábujj*, kéz, kézfej, "
    "ujjak, térd*, boka*, lábfej, borda*, bordák, szegycsont",
    "lt, lv": "pilvas, pilvo, dubuo, dubens, kaukolė, kelis, kelio, petys, peties, čiurna, pėda, "
    "vēders, iegurnis, galvaskauss, ceļgals, plecs, pēda, šonkauliai, ribas",
    "tr": "batın, pelvis, kalça*, kafa, kafatası, çene, diş, dişler, boyun, mamografi, omuz*, "
    "klavikula, ön kol, dirsek*, el bileği, parmak, uyluk, diz, ayak*, kaburga*, kosta",
    "ru, uk, bg": "живот*, брюшн*, черевн*, таз, таза, тазу, тазобедр*, кульш*, череп*, голов*, "
    "глава, челюст*, зуб, зубы, зубов, пазух*, шея, маммограф*, мамограф*, молочн*, плеч*, рамо, "
    "ключиц*, лопатк*, локт*, лікт*, предплеч*, лучезапяст*, кисть, кисти, китка, ръка, палец, "
    "пальц*, бедр*, стегн*, колен*, колін*, голен*, голеностоп*, стопа, стопы, стопи, пятк*, "
    "ребер, ребра, рёбра, рёбер, ребро, грудина, грудины",
    "el": "κοιλία*, κοιλίας, λεκάνη, λεκάνης, ισχίο*, κρανίο*, δόντια, μαστογραφία, μαστός, ώμος, "
    "ώμου, αγκώνας, χέρι, γόνατο*, πόδι, ποδοκνημικ*, πλευρές, πλευρών",
    "ja, zh": "腹部, 腹部立位, 腎臓, 骨盤, 骨盆, 股関節, 髋, 髖, 頭部, 頭蓋, 头颅, 頭顱, 颅骨, "
    "颅, 顔面, 副鼻腔, 鼻窦, 鼻骨, 顎, 下颌, 下顎, 歯, 牙齿, 牙齒, 頚部, 颈部, 頸部, 乳房, 乳腺, "
    "マンモ, 肩, 鎖骨, 锁骨, 肩胛, 上腕, 肱骨, 肘, 前腕, 前臂, 手関節, 腕关节, 手部, 手指, 大腿, "
    "膝, 下腿, 足関節, 踝, 足部, 足趾, 跟骨, 踵, 肋骨, 肋, 胸骨, 四肢, フクブ, コツバン, トウブ",
    "ko": "복부, 골반, 고관절, 두부, 두개골, 부비동, 턱, 치아, 유방, 어깨, 쇄골, 팔꿈치, 손목, "
    "손가락, 무릎, 발목, 발가락, 늑골, 갈비뼈, 흉골",
    "ar, he": "البطن, بطن, الحوض, حوض, الجمجمة, جمجمة, الركبة, ركبة, الكتف, كتف, בטן, אגן, "
    "גולגולת, ברך, כתף, שיניים, קרסול, צלעות, ירך",
}

# Other body parts that are ordinary words as well: they count in BodyPartExamined only.
OTHER_PART_AS_CODE = {
    "defined terms of PS3.16 annex L": "adrenal, buttock, carotid, cerebellum, cervix, cheek, "
    "circleofwillis, cornea, ctspine, duodenum, eyelid, gallbladder, headneck, iac, ileum, ilium, "
    "jejunum, lsspine, mouth, ovary, pancreas, parotid, penis, prostate, rectum, scalp, sclera, "
    "scrotum, spleen, sspine, submandibular, testis, thyroid, tlspine, tongue, urethra, vagina, "
    "vulva",
    "vendors": "up exm, low exm, upper limb, upper ext, lower ext, up extremity, low extremity, "
    "extr, head neck, ls spine, s spine",
    "en": "face, back, whole body, wholebody, babygram, joint, heel, calf, chin, palm, skeleton",
    "fr": "main, face, dos, cheville, hanche, membre inférieur, membre supérieur",
    "es, it, pt": "cara, faccia, pé, seno, espalda, schiena, costas, viso",
    "de, nl": "rücken, arm, hand, rug, ganzkörper",
}

# Phrases that hold the name of a part and do not name one.
NO_PART = {
    "en": "chest wall, c arm, head first, feet first, breast cancer, breast ca, foot first, "
    "history of breast, neck line, head up, head elevated, head of bed, heart failure follow up, "
    "hand held, handheld, hand carried, foot of bed, stomach tube, nasal tube, sinus tachycardia, "
    "sinus rhythm, breast surgery, breast carcinoma, colon cancer, colon ca, bladder cancer, "
    "bladder ca, stomach cancer, liver transplant*, kidney transplant*, kidney tx, brain death",
    "de": "hemithorax, brustwand, thoraxwand, mammakarzinom*, mamma ca, mammaca, c bogen",
    "fr, es, it, pt": "paroi thoracique, pared torácica, cancer du sein, cáncer de mama, "
    "pie de cama, ca mama, parete toracica, parede torácica, ao pé do leito, a pie de cama, "
    "a pie, de pie, bras levés, mano lesta",
    "nl, sv, da, no, fi": "borst, bröst, bryst, rinta",
}
