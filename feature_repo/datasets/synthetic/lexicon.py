"""The words of the made data: what each topic is about, and how dull or vivid a phrase sounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic's words: hashtags, subjects (singular, no article), doings (gerunds) and settings."""

    name: str
    tags: tuple[str, ...]
    subjects: tuple[str, ...]
    doings: tuple[str, ...]
    settings: tuple[str, ...]


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split(","))


TOPICS: tuple[Topic, ...] = (
    Topic(
        "cooking",
        ("cooking", "recipe"),
        _phrases(
            "tomato soup, sourdough loaf, mushroom risotto, chickpea curry, omelette, noodle bowl, apple pie, "
            "lentil stew, pepper sauce, dumpling, grilled aubergine, lemon tart, potato gratin, flatbread"
        ),
        _phrases(
            "kneading the dough, chopping fresh herbs, simmering the sauce, frying onions in butter, whisking eggs, "
            "plating the dish, tasting the broth, toasting spices, rolling out pastry, carving the roast"
        ),
        _phrases(
            "in a tiny kitchen, on a cast-iron pan, for a table of six, from my aunt's notebook, "
            "with five ingredients, over an open fire, on a weeknight, straight from the oven"
        ),
    ),
    Topic(
        "football",
        ("football", "matchday"),
        _phrases(
            "free kick, penalty save, counter-attack, overhead kick, derby match, long pass, team talk, "
            "corner routine, late equaliser, keeper's dive, training drill, cup final, through ball, header"
        ),
        _phrases(
            "dribbling past defenders, curling it into the corner, pressing high, sprinting down the wing, "
            "juggling the ball, defending a narrow lead, shooting from distance, celebrating with the fans, "
            "warming up the squad, tackling on the line"
        ),
        _phrases(
            "under the floodlights, in the pouring rain, in stoppage time, on the village pitch, "
            "in front of the stand, against the league leaders, on a Sunday morning, from the halfway line"
        ),
    ),
    Topic(
        "cats",
        ("cats", "pets"),
        _phrases(
            "tabby kitten, ginger cat, sleepy tomcat, rescue cat, black cat, pair of kittens, long-haired cat, "
            "stray cat, old mouser, Siamese cat, whiskered hunter, house cat, purring kitten, fluffy cat"
        ),
        _phrases(
            "chasing a feather, napping on the keyboard, knocking over a glass, purring loudly, climbing the curtain, "
            "begging for breakfast, hiding in a box, staring at a bird, washing its paws, pouncing on a shadow"
        ),
        _phrases(
            "on the windowsill, in a cardboard box, under the blanket, at four in the morning, beside the radiator, "
            "on top of the bookshelf, at the animal shelter, in my lap"
        ),
    ),
    Topic(
        "mountains",
        ("mountains", "hiking"),
        _phrases(
            "ridge walk, summit hike, alpine lake, glacier trail, mountain hut, rocky peak, pine forest path, "
            "valley view, climbing route, snow field, high pass, granite wall, ibex track, sunrise ascent"
        ),
        _phrases(
            "crossing the snow line, pitching a tent, scrambling up loose rock, reading the map, resting at the cairn, "
            "roping up for the face, watching clouds below us, filling bottles at a spring, "
            "descending before the storm, counting peaks"
        ),
        _phrases(
            "above the tree line, at three thousand metres, after the first snow, with a heavy rucksack, "
            "along the border, before dawn, on the north face, in thin air"
        ),
    ),
    Topic(
        "ocean",
        ("ocean", "sailing"),
        _phrases(
            "sailing trip, coral reef, lonely beach, surf session, lighthouse, humpback whale, tide pool, "
            "fishing boat, rolling wave, island crossing, harbour morning, kayak tour, sea turtle, dolphin pod"
        ),
        _phrases(
            "riding a long swell, diving with a snorkel, hoisting the mainsail, walking along the surf, "
            "drifting with the current, watching the tide come in, paddling around the headland, mending the nets, "
            "anchoring in a bay, collecting shells"
        ),
        _phrases(
            "off the southern coast, at low tide, in turquoise water, in a stiff breeze, beyond the harbour wall, "
            "under gulls and salt spray, at the edge of the reef, far from land"
        ),
    ),
    Topic(
        "city night",
        ("city", "nightlife"),
        _phrases(
            "skyline, rooftop view, night market, neon street, tram ride, empty crossing, taxi window, "
            "high-rise facade, subway platform, river bridge, late diner, shop front, rain-soaked avenue, midnight walk"
        ),
        _phrases(
            "strolling past bright windows, waiting for the last train, photographing reflections, cycling home late, "
            "watching the traffic flow, looking down from the roof, listening to sirens fade, crossing the old bridge, "
            "queueing for street food, counting lit windows"
        ),
        _phrases(
            "after midnight, downtown, between two towers, under neon signs, on the thirtieth floor, after the rain, "
            "in the old quarter, when the offices are empty"
        ),
    ),
    Topic(
        "guitar",
        ("guitar", "music"),
        _phrases(
            "guitar solo, fingerpicking lesson, acoustic ballad, blues riff, chord progression, flamenco study, "
            "open-mic song, twelve-string tune, practice session, string change, folk melody, slide guitar piece, "
            "campfire song, cover version"
        ),
        _phrases(
            "tuning by ear, bending the high string, strumming a slow waltz, looping a bass line, "
            "learning barre chords, recording the second take, improvising in A minor, tapping harmonics, "
            "singing along, playing unplugged"
        ),
        _phrases(
            "on a worn nylon-string, in the rehearsal room, on the back porch, at the corner cafe, "
            "through a small amp, in drop D, for two voices, late in the set"
        ),
    ),
    Topic(
        "chess",
        ("chess", "strategy"),
        _phrases(
            "queen sacrifice, rook endgame, opening trap, knight fork, checkmate pattern, blitz game, pawn storm, "
            "king hunt, tournament round, endgame study, Sicilian line, stalemate trick, bishop pair, "
            "simultaneous match"
        ),
        _phrases(
            "castling too late, calculating five moves ahead, pinning the knight, trading into an endgame, "
            "promoting a pawn, playing against the clock, defending a lost position, reviewing the blunders, "
            "controlling the centre, cornering the king"
        ),
        _phrases(
            "with seconds left, against a grandmaster, at the park tables, in the last round, with the black pieces, "
            "in twenty moves, at the local club, on board one"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Tier:
    """Words of one degree of appeal: adjectives, how a title opens, how a description judges."""

    adjectives: tuple[str, ...]
    openings: tuple[str, ...]
    verdicts: tuple[str, ...]


TIERS: tuple[Tier, ...] = (
    Tier(
        _phrases("ordinary, forgettable, dull, plain, unremarkable, so-so, dreary, routine, bland, tedious"),
        _phrases("Just another, Yet another, One more, Leftover footage, Nothing special, Another boring"),
        _phrases(
            "Not much happens., It is rather boring., You can skip this one., A dull few minutes., "
            "Nothing stands out., I nearly fell asleep."
        ),
    ),
    Tier(
        _phrases("usual, regular, basic, modest, average, standard, common, everyday, passable, adequate"),
        _phrases("A note on the, Some footage, For the record, From the archive, A short look, Part two"),
        _phrases(
            "It went as planned., It is fine for what it is., Recorded as usual., A fair attempt., "
            "It does the job., About what you would expect."
        ),
    ),
    Tier(
        _phrases("lovely, bright, charming, cheerful, delightful, graceful, clever, fresh, pleasant, warm"),
        _phrases("A joy to share, Worth your time, So much fun, Simply lovely, A happy find, You will like this"),
        _phrases(
            "It made my day., We enjoyed every bit of it., A pleasure to watch., You will want to try it., "
            "It turned out beautifully., It left us smiling."
        ),
    ),
    Tier(
        _phrases(
            "breathtaking, unforgettable, astonishing, spectacular, legendary, jaw-dropping, electrifying, magical, "
            "mind-blowing, stunning"
        ),
        _phrases("You won't believe this, Pure magic, Watch until the end, Goosebumps, A dream come true, Unreal"),
        _phrases(
            "The most incredible moment of my life!, Nobody could believe their eyes!, It will give you chills!, "
            "An absolute triumph!, Everyone is talking about it!, I am still shaking!"
        ),
    ),
)
