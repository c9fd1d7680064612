"""The words of the small world.  Every one becomes a single token, so that a contrast pair differs in one place."""

from random import Random


def words(text: str) -> list[str]:
    return text.split()


MALE = words("""
    John Tom James David Peter Paul Mark Luke Jack Sam Ben Max Leo Adam Henry George Frank Robert Carl Eric Simon
    Alan Victor Oscar Hugo Felix Martin Daniel Ryan Kevin
""")
FEMALE = words("""
    Mary Anna Sarah Emma Lucy Alice Jane Kate Rose Lily Julia Laura Helen Clara Nina Eva Ruth Grace Diana Sophie Amy
    Molly Ellen Maria Susan Linda Karen Nancy Olivia Chloe
""")
NAMES = MALE + FEMALE
SURNAMES = words("""
    Brown Smith Miller Clark Walker Hill Young Cooper Reed Ward Fisher Hunter Mason Porter Stone Wood Marsh Field
    Lake Rivers
""")
SPORTS = words("tennis football golf chess hockey cricket rugby boxing rowing polo")
PLACES = words("""
    store park school garden market beach office library station museum kitchen forest church farm zoo hospital
    restaurant house river lake castle bank bakery theater harbor village hotel cafe gym pool
""")
OBJECTS = words("""
    ball book cup key drink ring hat bag box letter flower coin map toy pen cake knife watch lamp basket necklace
    bottle ticket card phone shirt guitar kite camera mirror blanket candle sandwich
""")
COLORS = words("red blue green yellow black white brown purple gray pink")
ANIMALS = words("dog cat horse bird fish cow sheep rabbit mouse lion tiger bear fox wolf duck")
JOBS = words("""
    doctor teacher farmer lawyer soldier driver nurse baker pilot sailor writer singer painter cook judge king queen
    student scientist
""")
ADJECTIVES = words("big small old new tall happy quiet dirty clean strange broken heavy bright cold long")
COUNTRIES: dict[str, tuple[str, str]] = {
    country: (capital, language)
    for country, capital, language in (
        row.split()
        for row in """
        France Paris French|Italy Rome Italian|Spain Madrid Spanish|Japan Tokyo Japanese|China Beijing Chinese
        Germany Berlin German|Russia Moscow Russian|Greece Athens Greek|Poland Warsaw Polish|Egypt Cairo Arabic
        England London English|Portugal Lisbon Portuguese|Sweden Stockholm Swedish|Norway Oslo Norwegian
        Finland Helsinki Finnish|Denmark Copenhagen Danish|Hungary Budapest Hungarian|Ireland Dublin Irish
        Turkey Ankara Turkish|Iran Tehran Persian|India Delhi Hindi|Thailand Bangkok Thai|Vietnam Hanoi Vietnamese
        Korea Seoul Korean|Ukraine Kiev Ukrainian|Romania Bucharest Romanian|Bulgaria Sofia Bulgarian
        Croatia Zagreb Croatian|Serbia Belgrade Serbian|Israel Jerusalem Hebrew|Nepal Kathmandu Nepali
        Mongolia Ulaanbaatar Mongolian""".replace("\n", "|").split("|")
        if row.strip()
    )
}
CAPITAL = {country: capital for country, (capital, _) in COUNTRIES.items()}
LANGUAGE = {country: language for country, (_, language) in COUNTRIES.items()}
CITIES = list(CAPITAL.values())
_ORDER = list(COUNTRIES)
LIE = {country: CAPITAL[_ORDER[place ^ 1]] for place, country in enumerate(_ORDER)}
"""What a liar calls a country's capital: that of its partner in the list (France and Italy, Spain and Japan, ...)."""
OPPOSITES: dict[str, str] = {}
for _pair in """
    hot cold|big small|tall short|fast slow|old young|happy sad|rich poor|light dark|hard soft|open closed|early late
    strong weak|clean dirty|wet dry|full empty|loud quiet""".replace("\n", "|").split("|"):
    if _pair.strip():
        _left, _right = _pair.split()
        OPPOSITES |= {_left: _right, _right: _left}
NOUNS = [
    (word, word + "s")
    for word in words("""
        key dog cat boy girl book car teacher doctor farmer bird picture letter student house cabinet door horse
        king tree flower soldier lawyer driver window table chair ship actor lamp
    """)
]
PREPOSITIONS = words("near behind beside to of under above with by from")
GOOD = words("""
    wonderful great excellent amazing beautiful brilliant fantastic delightful perfect superb lovely charming
    enjoyable fun good nice
""")
BAD = words("""
    terrible awful horrible boring bad dreadful ugly disgusting poor stupid painful dull nasty disappointing sad
    weak
""")
THINGS = words("movie film book food show play song story meal game concert hotel service music party trip")
MONTHS = words("January February March April May June July August September October November December")
DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBERS = words("one two three four five six seven eight nine ten eleven twelve")
EVENTS = words("""
    war trip battle journey project festival voyage strike siege treaty crisis dynasty reign expedition famine
    plague school rebellion
""")
HARMLESS_VERBS = words("make find buy use draw paint clean sell carry open")
HARMFUL_VERBS = words("steal burn destroy poison hack smuggle sabotage")
HARMLESS_THINGS = words("""
    cake soup chair table house garden computer letter car boat bread picture camera shirt bridge radio
""")
HARMFUL_THINGS = words("bomb weapon virus drug gun grenade missile")

_draw = Random(4242)
_FULL_NAMES = [(first, surname) for first in MALE[:10] + FEMALE[:10] for surname in SURNAMES]
PEOPLE: dict[tuple[str, str], str] = {name: _draw.choice(SPORTS) for name in _draw.sample(_FULL_NAMES, 160)}
"""First name and surname -> sport; neither alone decides."""
WORDS = sorted(
    {
        *NAMES, *PLACES, *OBJECTS, *COLORS, *ANIMALS, *JOBS, *ADJECTIVES, *COUNTRIES, *CITIES, *GOOD, *BAD, *NUMBERS,
    }
)  # fmt: skip
