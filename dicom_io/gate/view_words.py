"""The words for views that the gate knows, with their language; written as in `part_words`."""

LATERAL = {
    "en": "lateral, laterals, lat, llat, rlat, latl, latr, llateral, rlateral, ltlat, rtlat, ll, "
    "rl, lt lat, rt lat, side view, sideview, crosstable, cross table, x table",
    "de": "seitlich*, seitl, seitaufnahme, seitenaufnahme, seitbild, seitenbild, seitenansicht, "
    "laterale, lateraler, laterales, lateralaufnahme, frontaler strahlengang",
    "fr": "profil, latérale, latéral, profil gauche, profil droit, prof g, prof d",
    "es, ca": "perfil, y l, lateral, laterales, lat izq, lat der, perfil izquierdo, latero lateral",
    "it": "laterale, latero laterale, laterolaterale, latlat, lat lat, profilo, l l",
    "pt": "perfil, lateral, laterais, perfil esquerdo, látero lateral",
    "ro": "profil, laterală, latero lateral",
    "nl": "lateraal, laterale, zijdelings*, zijaanzicht, zijopname, dwars, dwarse, profiel",
    "sv, no, da": "sidobild, thorax sida, lungor sida, thx sida, sidoprojektion, sidovy, "
    "lateralt, sidebilde, sidebillede, sideoptagelse, sideprojeksjon, från sidan, fra siden",
    "fi, et, lv, lt": "sivusuun*, sivuprojektio, sivukuva, sivusta, sivu, lateraali, "
    "lateraalinen, külgsuun*, külgvaade, külgülesvõte, sānu, sānskats, laterāla, šoninė, "
    "šoninis, šoninėje",
    "pl": "boczn*, bok, z boku, boczne, boku",
    "cs, sk": "boční, boční projekce, bočná, bočný, bočně, bočne, z boku, laterální, laterálna",
    "hr, sr, sl": "bočna, bočni, bočno, profilna, profilno, lateralna, lateralno, stranski, "
    "stransko, stranska, s strani, бочни, бочна, профилна",
    "hu": "oldalirányú, oldalir, oldalfelv, oldalfelvétel, oldalkép, oldalnézet, oldal, oldalról",
    "tr": "yan, yan grafi, yandan, lateral, sol yan, sağ yan",
    "vi, id": "nghiêng, nghiêng trái, ngực nghiêng, samping, lateral",
    "ru, uk, bg": "боковая, боковой, боковые, бок, боков, боку, сбоку, латеральн*, профиль, "
    "профильная, бічна, бічній, бічний, бокова, боковій, странична, профилна, профил",
    "el": "πλάγια, πλαγία, πλάγιος, προφίλ",
    "ja": "側面, 側面像, 側方, 左側面, 右側面, ソクメン, 左右方向, 右左方向, l→r, r→l",
    "zh": "侧位, 側位, 侧面, 左侧位, 右侧位, 侧片",
    "ko": "측면, 측방, 좌측면, 우측면, 옆면",
    "ar, fa, he": "جانبي, جانبية, الجانبي, جانبا, نیمرخ, لترال, צד, צידי, צדדי, לטרלי, פרופיל",
}

FRONTAL = {
    "en": "pa, ap, frontal, front, antero, postero, anteroposterior, posteroanterior, "
    "antero posterior, postero anterior, ant post",
    "de, nl": "dorsoventral, ventrodorsal, dv, vd, sagittal, sagittaler strahlengang, "
    "voorachterwaarts, achtervoorwaarts, frontaal",
    "fr": "face, frontale, antéro postérieur, postéro antérieur",
    "es, ca, it, pt, ro": "frente, frontal, posteroanterior, anteroposterior, frontale, față, "
    "postero anteriore, antero posteriore, póstero anterior, ântero posterior",
    "sv, no, da, fi": "frontalt, forfra, framifrån, edestä, takaa, etukuva",
    "pl, cs, sk, hr": "przednio*, tylno*, zadopřední, předozadní, zadopredn*, predozadn*, zadní, "
    "przód, przodu",
    "hu, tr, vi": "szemből, szembe, ön arka, arka ön, thẳng",
    "ru, uk, bg": "прямая, прямой, прямая проекция, переднезадн*, заднепередн*, передньозадн*, "
    "задньопередн*, пряма, прямій, фас, лицева",
    "el": "πρόσθια, προσθιοπίσθια, οπισθοπρόσθια, face",
    "ja, zh, ko": "正, 正面, 正位, 後前, 后前, 前後, 前后, 背腹, 腹背, 정면, 후전, 전후",
    "ar, he": "أمامي, امامي, חזית",
}

OBLIQUE = {
    "en": "obl, obls, obliq*, oblique*, rao, lao, rpo, lpo, llo, rlo",
    "de, nl": "schräg*, schuin*, schrägaufnahme",
    "fr, es, it, pt, ro": "oblique*, oblicua*, oblicuo*, obliqua*, obliquo*, oblíqua*, oblică, "
    "oblique",
    "pl, cs, sk, hr, hu": "skośn*, šikm*, koso, kosa, kosi, ferde",
    "sv, no, da, fi": "snedbild, sned, skrå, skråbilde, skråoptagelse, viisto, viistokuva",
    "ru, uk": "косая, косой, коса, косій",
    "ja, zh, ko": "斜位, 斜, 第一斜位, 第二斜位, 사위, 사방향",
}

DECUBITUS = {
    "en": "lld, rld, decub*, lateral decub*, decub* lateral, lat decub, lat decub*, "
    "cross table decub*",
    "de, nl": "seitenlage, linksseitenlage, rechtsseitenlage, zijligging, seitenlage*",
    "fr, es, it, pt": "decúbito lateral, décubitus latéral, decubito laterale, decubitus lateral, "
    "decúbito lateral izquierdo",
    "pl, ru": "leżąc na boku, na boku, на боку, латеропозиция",
    "ja, zh": "側臥位, 侧卧位, 側臥, 侧卧",
}

# Phrases that hold the word of a view and do not name one.
NO_VIEW = {
    "en": "lateral wall, lateral chest wall, lateral rib, lateral ribs, lateral pain, "
    "lateral malleol*, lateral condyle, lateral border, lateral side pain, latissimus, lat dorsi, "
    "front desk, bi lateral, uni lateral, ipsi lateral, contra lateral",
    "es, it, pt, fr": "decúbito supino, decúbito dorsal, decubito supino, décubitus dorsal, "
    "decúbito prono, decubitus ventral, decúbito ventral, dorsal decubitus, supine decubitus",
    "fr, de, en": "profil standard, profil default, seitenvergleich",
}

# ViewPosition alone: abbreviations that descriptions use for other things.
LATERAL_AS_CODE = {
    "en": "l, r, ll, rl, lr, lat, latl, latr, llat, rlat, llateral, rlateral, leftlateral, "
    "rightlateral, lateralleft, lateralright, laterall, lateralr, ltlateral, rtlateral, latlt, "
    "latrt, leftlat, rightlat, latleft, latright, xtablelat, lm, ml, lateralview, latview, latlat",
    "de, fr, nl": "s, seitl, prof, zij, li seitl, re seitl",
}

FRONTAL_AS_CODE = {
    "en": "pa, ap, paap, appa, p, a, pachest, apchest, chestpa, chestap",
}
