"""The words for pictures that are no plain film of a patient; written as in `part_words`."""

BONE_SUPPRESSED = {
    "en": "bone suppress*, bones suppress*, bone supp, bone supr, bonesuppress*, "
    "suppressed bone*, rib suppress*, ribs suppress*, bone subtracted, bone shadow elimination, "
    "bone removed, bone elimination, bone reduction, rib removal, bone free, bonefree, bonesupp, "
    "bone attenuat*",
    "de": "knochensuppress*, knochenunterdrück*, rippensuppress*, rippenunterdrück*, "
    "knochensupprim*",
    "fr": "suppression osseuse, suppression des os, suppression os, os supprimés",
    "es, it, pt": "supresión ósea, supresión de hueso, supresion hueso, soppressione ossea, "
    "soppressione osso, supressão óssea, supressão de osso, supressão do osso",
    "nl, sv": "botsuppress*, botonderdrukking, benundertryck*",
    "pl, cs, ru": "supresja kości, potlačení kostí, подавление кост*, подавления кост*",
    "ja, zh, ko": "骨抑制, 骨減弱, 骨除去, 骨抑, 뼈억제, 骨サプレッション, ボーンサプレッション",
    "products": "softview, clearread bs, clearread xray bs, clearread bone suppress*, xrbone, "
    "xr bone, bonesuppression, dbsuppress, bone shadow",
}

# Phrases that hold a word of this section and name no kind.
NO_KIND = {
    "en": "no bone suppress*, non bone suppress*, not bone suppress*, without bone suppress*, "
    "bone survey, bone age, bone scan, bone density, bone marrow, bone mets, bone metast*, "
    "long bones, bone lesion*, bone pain",
    "de": "ohne knochensuppress*, ohne knochenunterdrück*, keine knochenunterdrück*",
    "fr, es, it, pt": "sans suppression osseuse, sin supresión ósea, senza soppressione ossea, "
    "sem supressão óssea",
}

DUAL_ENERGY = {
    "en": "dual energy, dualenergy, dual exposure, energy subtraction, energy subtracted, esub, "
    "energy sub, energysubtraction, de subtraction, dual kv, spectral",
    "de": "dual energie, zwei energie*, zweispektren*, dualenergie, energiesubtraktion*",
    "fr, es, it, pt": "double énergie, bi énergie, energía dual, doble energía, doppia energia, "
    "dupla energia, energia dupla, soustraction d énergie, sustracción de energía",
    "ja, zh, ko": "エネルギーサブトラクション, エネサブ, 双能, 雙能, 双能量, 이중에너지",
}

BONE_OR_SOFT_TISSUE = {
    "en": "bone, bones, bone image, bone only, boneimage, boneonly, soft tissue, softtissue, "
    "tissue only, soft tissues, bony image, des bone, des soft, de bone, de soft",
    "de": "knochenbild, knochen, weichteil, weichteile, weichteilbild, weichgewebe",
    "fr": "image osseuse, tissus mous, parties molles",
    "es, it, pt": "hueso, óseo, ósea, tejido blando, tejidos blandos, partes blandas, osso, "
    "immagine ossea, tessuti molli, tessuto molle, tecidos moles, partes moles, imagem óssea",
    "nl, sv": "botbeeld, weke delen, weefsel, skelettbild, mjukdelar",
    "pl, cs, ru": "obraz kości, tkanki miękkie, kostní obraz, měkké tkáně, мягкие ткани, "
    "костное изображение",
    "ja, zh, ko": "骨画像, 骨部, 軟部, 軟部組織, 软组织, 軟組織, 骨像, 뼈영상, 연조직",
}

# Counts where the picture is marked as one of dual energy.
BONE_OR_SOFT_TISSUE_OF_A_PAIR = {
    "en": "soft, tissue, subtracted, subtraction, sub, low energy",
    "fr, zh, ja": "os, 骨",
}

AI_RESULT = {
    "en": "ai result*, ai heatmap*, ai heat map*, ai finding*, ai overlay*, ai report*, "
    "ai summary, ai output, ai detection*, ai analysis, ai annotat*, ai marker*, ai marks, "
    "ai score*, ai triage, ai secondary capture, ai sc, cad result*, cad mark*, cad overlay*, "
    "cad report*, cad output, chest cad, lung cad, heatmap*, heat map, heat maps, saliency, "
    "gradcam, grad cam, computer aided, computer assisted detection, results of ai, analysed by ai",
    "de": "ki ergebnis*, ki befund*, ki auswertung, ki analyse, ki overlay, ki heatmap, ki bericht",
    "fr, es, it, pt": "résultat ia, résultats ia, resultado ia, resultados ia, resultado de ia, "
    "risultato ia, risultati ia, analyse ia, análisis ia, analisi ia, mapa de calor, rapport ia",
    "nl, sv, pl, ru": "ai resultaat, ai bevinding*, ai resultat, ai fynd, wynik ai, wyniki ai, "
    "результат ии, результаты ии, анализ ии",
    "ja, zh, ko": "人工知能, 人工智能, 인공지능, ヒートマップ, 热图",
    "products": "lunit*, insight cxr, qxr, qure, annalise*, oxipit, chesteye, chestlink, gleamer, "
    "boneview, vuno*, cad4tb, milvue*, smarturgences, smartxpert, ai rad*, rayvolve, azmed, "
    "aidoc, behold ai, inferread, infervision, deepnoid, deep chest, deepc, enlitic, "
    "critical care suite, clearread detect, clearread compare, arterys, zebra medical, nanox ai, "
    "genki, dxr ai, xvision, carebot, carpl, contextflow, airs medical, jlk, avicenna ai, "
    "radiobotics, ribx, therapixel, eirl, 5c network, predible",
}

# Counts in a Secondary Capture.
AI_IN_A_CAPTURE = {
    "en": "ai, artificial intelligence, deep learning, cad, machine learning, neural network, "
    "algorithm result",
    "de": "ki, künstliche intelligenz",
    "fr, es, it, pt": "ia, intelligence artificielle, inteligencia artificial, "
    "intelligenza artificiale, inteligência artificial",
    "pl, ru, nl": "sztuczna inteligencja, ии, искусственный интеллект, kunstmatige intelligentie",
}

QUALITY_CONTROL = {
    "en": "phantom*, quality control, quality assurance, qc phantom, qc image, qc test, "
    "flat field, flatfield, test pattern, test image, test object, calibration, lungman, "
    "detector test, uniformity test, constancy test",
    "de": "phantom*, konstanzprüfung, abnahmeprüfung, prüfkörper, qualitätskontrolle, testbild, "
    "kalibrierung, flatfield",
    "fr, es, it, pt": "fantôme*, contrôle qualité, contrôle de qualité, fantoma*, maniquí, "
    "calibración, control de calidad, fantoccio, controllo qualità, controle de qualidade, "
    "calibrazione",
    "nl, pl, cs, ru": "fantoom, kwaliteitscontrole, fantom*, kontrola jakości, kontrola kvality, "
    "фантом*, контроль качества, калибровк*",
    "ja, zh, ko": "ファントム, 体模, 模体, 校准, 팬텀",
}

# Counts in the name of an institution as well, where an animal may be a person's name.
VETERINARY = {
    "en": "veterinary, small animal",
    "de": "tierarzt, tierarztpraxis, tierklinik, tiermedizin, veterinär*, kleintier*",
    "fr, es, it, pt": "vétérinaire, veterinari*, veterinária",
    "nl, pl, ru": "dierenarts, dierenkliniek, dierenartspraktijk, weterynar*, ветеринар*",
    "ja, zh": "動物病院, 獣医, 动物医院, 兽医, 宠物",
}

ANIMAL = {
    "en": "canine thorax, feline thorax, equine, canine chest, feline chest, vet thorax, "
    "thorax vd dog, dog thorax, cat thorax",
    "de": "hund, katze",
    "fr, es, it, pt": "chien, chienne, perro, felino, canino",
}

NO_ANIMAL = {
    "en": "human, humans, homo sapiens, homo, man, person, people, none, unknown, na, n a, other",
    "de, fr, es, it, pt": "mensch, humain, humano, umano, human being",
    "nl, pl, ru, ja, zh": "mens, człowiek, человек, 人, ヒト",
}
