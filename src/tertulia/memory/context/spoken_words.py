"""English words by which it is told whether something plainly said is meant as it is said."""

import re
from typing import Final


def _any_of(words: str) -> str:
    return "|".join(words.split())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STAGED: Final = re.compile(
    r"\b(?:"
    + _any_of(
        "translate rewrite rephrase paraphrase proofread summari[sz]e pretend(?:ing)? imagine suppose "
        "role-?play(?:ing)? kidding joking joke lyrics screenplay"
    )
    + r"|act as|for example|e\.g|for instance|(?:write|tell|make|compose|invent|correct|finish|continue) "
    r"(?:me |us )?(?:a|an|the|this|my))\b|(?:^|[.!\n])\s?not[.!]{0,3}$",
    re.IGNORECASE,
)
"""What makes a whole text a play, or an exercise."""

OTHERS_WORDS: Final = re.compile(
    r"\b(?:"
    + _any_of(
        "said says say saying sez told tells tell telling wrote writes written write asked asks answered "
        "replied replies claims? claimed shouted whispered texted posted quoted? quoting reads "
        "sings sang mentioned"
    )
    + r"|according to|was like|be like)\b|:(?!\d|//)|[\"\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a`]"
    r"|(?<!\w)['\u2018\u201a]|^>",
    re.IGNORECASE,
)
"""Where somebody else may begin to speak."""

UNSURE: Final = re.compile(
    r"\b(?:"
    + _any_of(
        "if unless whether maybe perhaps probably might wish would could should until till used not never "
        "no none nobody nothing neither nor hardly barely rarely seldom cannot almost"
    )
    + r")\b|n't\b|\b(?:love|like|adore|hate|loathe) (?:it|them|him|her)\b",
    re.IGNORECASE,
)
"""What makes a sentence say something else than its first words."""

OPEN: Final = _words(
    "or than when while because since although though except without that which who whose whom where how "
    "what why i me you your yours him her it its this these those them they he she us we most more less "
    "least better best worse worst anymore too one ones first second third last next option answer answers "
    "idea suggestion everything anything nothing everyone nobody but"
)
"""Words with which something said of oneself has no meaning of its own, or another one."""

VERBS: Final = _words(
    "hate dislike loathe detest despise love like adore prefer enjoy want need live work am have has had do "
    "does did can will must play sing dance speak study drive own use go went commute travel eat drink read "
    "write come came think know miss avoid"
)
"""What begins another statement after "and"."""

NO_NAMES: Final = _words(
    # What one may be, feel or do.
    "sorry fine good great ok okay happy sad tired sick busy ready back here there done new old young hungry "
    "thirsty lost sure so very not in on at from of with single married divorced widowed pregnant gay "
    "lesbian "
    "bisexual trans straight vegan vegetarian bored excited angry afraid scared confused worried curious "
    "interested looking trying just still also always never now only really all both home late early free "
    "asking going having being getting ill well bad better awake alone right wrong left the an my your our "
    "his her their this that what who how when why where if it is no none nobody nothing someone somebody "
    "everybody everyone human retired unemployed student teacher doctor nurse lawyer engineer crazy mad sir "
    "madam boss chief president dr mr mrs ms miss mx prof professor st jr sr lord lady unknown anonymous "
    "secret irrelevant important private confidential spelled called written pronounced later soon tomorrow "
    "today tonight yesterday asap maybe anytime whenever names name "
    # Days, signs of the zodiac.
    "monday tuesday wednesday thursday friday saturday sunday aries taurus gemini cancer leo virgo libra "
    "scorpio sagittarius capricorn aquarius pisces "
    # Where one may come from, and what one may believe.
    "american african asian european arab australian austrian belgian brazilian british bulgarian canadian "
    "chilean chinese colombian croatian cuban czech danish dutch egyptian english estonian finnish french "
    "german greek hungarian icelandic indian indonesian iranian iraqi irish israeli italian japanese kenyan "
    "korean latvian lithuanian malaysian mexican moroccan nigerian norwegian pakistani peruvian polish "
    "portuguese romanian russian saudi scottish serbian slovak slovenian spanish swedish swiss syrian thai "
    "tunisian turkish ukrainian vietnamese welsh black white latino latina hispanic native christian "
    "catholic "
    "protestant orthodox muslim jewish hindu buddhist sikh atheist agnostic mormon republican democrat "
    "democratic liberal conservative"
)
"""What is no name, also where it stands as one."""

NO_NAMES_ENDING: Final = (
    "an",
    "ish",
    "ese",
    "ic",
    "ist",
    "ing",
    "ed",
    "er",
    "ful",
    "less",
    "ous",
    "ive",
    "ent",
)
"""What words end in that say of somebody what they are."""

NO_PLACES: Final = _words(
    "night noon midnight home work school christmas easter thanksgiving fear hope sin peace st mt ft dr mr "
    "mrs "
    "ms monday tuesday wednesday thursday friday saturday sunday january february march april may june july "
    "august september october november december"
)
"""What is no place to live and no one to work for."""

LINKS: Final = _words("the of and de del la las los le les di da do am an der den upon near in on el")
"""Words without a capital within names of places."""
