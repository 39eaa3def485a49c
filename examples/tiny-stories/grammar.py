#!/usr/bin/env python3
"""Writes little English stories by a grammar.

The same seed always gives the same stories. A story has an opening, a plot and
an end; its hero and friend keep their names, kinds and pronouns, and an object
keeps its look. `[a|b]` in a template chooses one alternative, `{name}` is
filled from the story's facts.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import re
import sys

GIRLS = ["Lily", "Mia", "Anna", "Emma", "Ruby", "Nora", "Ella", "Rosie"]
BOYS = ["Tom", "Ben", "Max", "Sam", "Leo", "Jack", "Oscar", "Finn"]
ANIMALS = ["fox", "rabbit", "bear", "duck", "mouse", "cat", "dog", "frog", "hen", "owl"]
SIZES = ["big", "little", "tiny", "long", "round"]
COLOURS = ["red", "blue", "green", "yellow", "white", "brown"]

# Toys: what they are and what one does with them.
TOYS = {
    "ball": "throw", "kite": "fly", "drum": "beat", "boat": "sail", "hat": "wear",
    "book": "read", "bell": "ring", "bike": "ride", "doll": "hug", "balloon": "hold",
}
FOODS = ["an apple", "a cake", "a pear", "a pie", "a cookie", "a sandwich", "a carrot"]
PLACES = ["in the park", "in the garden", "in the forest", "at the beach", "on the farm",
          "by the river", "on the hill", "by the lake", "in the meadow", "in the yard"]
SPOTS = ["under the bed", "behind the door", "under a tree", "behind a rock", "in the tall grass",
         "under the bench", "in a bush", "near the gate", "under a leaf", "behind the house"]
WEATHER = ["sunny", "warm", "windy", "cold", "bright", "quiet", "cloudy"]
# Fears, and what they turn out to be.
FEARS = {
    "the dark": "a nice time to look at the stars",
    "the thunder": "just the clouds saying hello",
    "the water": "a good place to splash and play",
    "the wind": "only a song in the trees",
    "the night": "a good time to rest and dream",
}
SKILLS = {
    "swim": "in the lake", "sing": "on the hill", "dance": "in the garden",
    "climb": "in the forest", "skate": "on the ice", "paint": "in the yard",
}
BUILDS = {
    "tower": "blocks", "castle": "sand", "snowman": "snow", "nest": "sticks",
    "tent": "leaves", "bridge": "stones", "house": "wood",
}
PETS = ["bird", "kitten", "puppy", "bee", "turtle", "lamb"]


@dataclasses.dataclass(frozen=True)
class Character:
    name: str
    kind: str
    female: bool

    def facts(self, prefix: str) -> dict[str, str]:
        """The words that speak of this character, as template fields."""
        he, him, his = ("she", "her", "her") if self.female else ("he", "him", "his")
        return {prefix: self.name, f"{prefix}_kind": self.kind, f"{prefix}_he": he,
                f"{prefix}_him": him, f"{prefix}_his": his, f"{prefix}_He": he.capitalize(),
                f"{prefix}_His": his.capitalize()}


OPENINGS = [
    "Once upon a time, there was a {size} {hero_kind} named {hero}.",
    "There once was a {hero_kind} named {hero}.",
    "{hero} was a [happy|kind|brave|funny|good] little {hero_kind}.",
    "Once there was a {hero_kind} [named|called] {hero} who lived {home}.",
]
HABITS = [
    "{hero_He} [loved|liked] to {toy_use} {hero_his} {toy}.",
    "{hero_He} [loved|liked] to play {home}.",
    "{hero_He} had a [good|dear|best] friend, a {friend_kind} named {friend}.",
    "Every day, {hero_he} played {home}.",
]
DAYS = [
    "One {weather} day,", "One {weather} morning,", "One day,", "One {weather} afternoon,",
]
ENDINGS = [
    "[They|{hero} and {friend}] were [happy|very happy|glad] and played until the sun went down.",
    "From that day on, {hero} and {friend} were best friends.",
    "Then they [went|walked] home together, [happy and tired|with a smile].",
    "{hero} [smiled|was happy] and gave {friend} a big hug.",
    "That night, {hero} [slept well|had a sweet dream].",
    "{hero} and {friend} [laughed|smiled] and played together all day.",
]

# A plot is a list of parts; each part is a list of ways to say it.
PLOTS = {
    "lost toy": [
        ["{day} {hero} could not find {hero_his} {colour} {toy}."],
        ["{hero_He} was [sad|very sad] and began to [cry|look for it].",
         "{hero_He} looked {spot}, but it was not there."],
        ["{friend_Title} [came to help|wanted to help].",
         "\"Do not [worry|cry],\" said {friend_title}. \"I will help you.\""],
        ["[They|{hero} and {friend}] looked {spot2}, and there was the {colour} {toy}!",
         "Soon {friend} found the {colour} {toy} {spot2}."],
        ["\"Thank you, {friend}!\" said {hero}."],
    ],
    "found toy": [
        ["{day} {hero} was walking {place} and saw a {colour} {toy} {spot2}."],
        ["{hero_He} wanted to {toy_use} it, but it was not {hero_his} {toy}.",
         "\"Whose {toy} is this?\" {hero_he} asked."],
        ["Then {hero_he} met a {friend_kind} named {friend}, who was [crying|sad].",
         "Soon a {friend_kind} named {friend} came by and looked very sad."],
        ["\"I lost my {toy},\" said {friend}."],
        ["{hero} gave the {colour} {toy} back to {friend}, and {friend_he} [smiled|was so happy].",
         "\"Here it is,\" said {hero}, and gave it to {friend_him}."],
    ],
    "sharing": [
        ["{day} {hero} had {food} for lunch."],
        ["{hero_He} sat down {place} and wanted to eat it.",
         "{hero_He} took it {place} and sat down [to eat|under a tree]."],
        ["Then {hero_he} saw {friend_title}, who had nothing to eat.",
         "{friend_Title} came by and was very hungry."],
        ["\"Are you hungry?\" asked {hero}. \"We can share.\"",
         "\"You can have [half|some] of it,\" said {hero}."],
        ["[They ate it together, and it was very good|{friend} said thank you and ate with {hero_him}]."],
    ],
    "fear": [
        ["But {hero} was afraid of {fear}.", "But there was one thing {hero} did not like: {fear}."],
        ["{day} {hero_he} [hid|sat] {spot} and did not want to come out.",
         "One night, {hero_he} was so afraid that {hero_he} began to cry."],
        ["{friend_Title} sat down next to {hero_him} and held {hero_his} hand.",
         "{friend_Title} heard {hero_him} and came to help."],
        ["\"Do not be afraid,\" said {friend}. \"It is {fear_truth}.\""],
        ["{hero} looked up and saw that {friend} was right.",
         "After that, {hero} was not afraid of {fear} any more."],
    ],
    "building": [
        ["{day} {hero} wanted to make a {build} out of {build_of}."],
        ["{hero_He} worked [hard|all morning], but the {build} fell down.",
         "{hero_He} tried and tried, but the {build} was too [weak|small]."],
        ["{hero} was [sad|angry] and wanted to stop.",
         "\"This is too hard,\" {hero_he} said."],
        ["\"Try again, and I will help you,\" said {friend_title}.",
         "Then {friend_title} came and said, \"Let us do it together.\""],
        ["They worked together, and soon the {build} was [big and strong|done].",
         "This time the {build} did not fall."],
    ],
    "hurt pet": [
        ["{day} {hero} found a little {pet} {spot2}.", "{day} {hero} heard a little {pet} crying {place}."],
        ["The {pet} was hurt and could not [move|go home].", "The {pet} was cold and [hungry|alone]."],
        ["{hero} took the {pet} home and gave it [food|water|some milk].",
         "{hero_He} picked it up and kept it warm."],
        ["{friend_Title} made a soft bed for the {pet}.",
         "\"I can help too,\" said {friend_title}."],
        ["After a few days, the {pet} was well and [ran|played] with them.",
         "Soon the {pet} felt better and was their new friend."],
    ],
    "rain": [
        ["{day} {hero} and {friend_title} were playing {place}."],
        ["Then dark clouds came, and it began to rain.", "All at once, big drops of rain fell on them."],
        ["They ran and hid [under a big tree|in a little house|in a barn].",
         "\"Come with me!\" said {friend}, and they ran to a big tree."],
        ["They sat close together and told [funny|little] stories.", "They sang a song while they waited."],
        ["When the rain stopped, they saw a [big|bright] rainbow in the sky.",
         "Soon the sun came out, and they jumped in the puddles."],
    ],
    "quarrel": [
        ["{day} {hero} and {friend_title} found a {colour} {toy} {place}."],
        ["Both of them wanted to {toy_use} it.", "\"It is mine!\" said {hero}. \"No, it is mine!\" said {friend}."],
        ["They pulled and pulled, and {friend} began to cry.",
         "They were angry and did not talk to each other."],
        ["Then {hero} felt [bad|sorry] and said, \"I am sorry. You can go first.\"",
         "\"I am sorry, {friend},\" said {hero}. \"We can take turns.\""],
        ["So they took turns with the {toy}, and it was [more|much more] fun.",
         "{friend} was happy, and they shared the {toy}."],
    ],
    "learning": [
        ["{day} {hero} wanted to learn to {skill}."],
        ["But it was hard, and {hero_he} [could not do it|did it all wrong].",
         "{hero_He} tried {skill_place}, but {hero_he} could not do it."],
        ["\"I can show you,\" said {friend_title}.",
         "{friend_Title} said, \"You must try every day.\""],
        ["So {hero} tried every day with {friend}.", "{hero} tried again, and {friend} helped {hero_him}."],
        ["At last, {hero} could {skill} [very well|all by {hero_him}self].",
         "\"Look, I can {skill}!\" said {hero}."],
    ],
    "birthday": [
        ["{day} {hero} saw {friend_title}, who was [sad|alone] on {friend_his} birthday."],
        ["{friend_He} thought that nobody knew.", "\"Nobody knows that it is my birthday,\" said {friend}."],
        ["But {hero} had a plan and [brought|gave] {friend_him} {food}.",
         "{hero} came with {food} and a {colour} {toy}."],
        ["\"Happy birthday, {friend}!\" said {hero}."],
        ["{friend} was so happy that {friend_he} [danced|jumped up and down].",
         "\"You are a good friend,\" said {friend}."],
    ],
}

# Plots that bring in the friend, or the toy, by themselves: no habit speaks of it.
MEETS_FRIEND = {"found toy"}
FINDS_TOY = {"found toy", "quarrel", "birthday"}
ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
A_BEFORE_VOWEL = re.compile(r"\b([Aa])(?= [aeiou])")


def make_cast(rng: random.Random) -> tuple[Character, Character]:
    """A hero and a friend; one is a she and one a he, so that pronouns are clear."""
    hero_female = rng.random() < 0.5

    def character(female: bool) -> Character:
        name = rng.choice(GIRLS if female else BOYS)
        if rng.random() < 0.4:
            return Character(name, "girl" if female else "boy", female)
        return Character(name, rng.choice(ANIMALS), female)

    hero, friend = character(hero_female), character(not hero_female)
    while friend.kind == hero.kind:
        friend = character(not hero_female)
    return hero, friend


def make_facts(rng: random.Random) -> dict[str, str]:
    hero, friend = make_cast(rng)
    toy, fear = rng.choice(list(TOYS)), rng.choice(list(FEARS))
    skill, build = rng.choice(list(SKILLS)), rng.choice(list(BUILDS))
    home, place = rng.sample(PLACES, 2)
    spot, spot2 = rng.sample(SPOTS, 2)
    return {
        **hero.facts("hero"), **friend.facts("friend"), "toy": toy, "toy_use": TOYS[toy],
        "colour": rng.choice(COLOURS), "size": rng.choice(SIZES[:3]), "home": home,
        "place": place, "spot": spot, "spot2": spot2, "weather": rng.choice(WEATHER),
        "food": rng.choice(FOODS), "fear": fear, "fear_truth": FEARS[fear], "skill": skill,
        "skill_place": SKILLS[skill], "build": build, "build_of": BUILDS[build],
        "pet": rng.choice(PETS),
    }


def friend_title(facts: dict[str, str], known: bool) -> dict[str, str]:
    """How the friend is called at first sight, in and at the start of a sentence."""
    name, kind = facts["friend"], facts["friend_kind"]
    if known:
        title = name
    elif kind in ("girl", "boy"):
        title = f"a {kind} named {name}"
    else:
        title = f"{name} the {kind}"
    return {"friend_title": title, "friend_Title": title[0].upper() + title[1:]}


def fill(rng: random.Random, template: str, facts: dict[str, str]) -> str:
    text = ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), template)
    return A_BEFORE_VOWEL.sub(r"\1n", text.format_map(facts))


def make_story(rng: random.Random) -> str:
    facts = make_facts(rng)
    facts["day"] = fill(rng, rng.choice(DAYS), facts)
    plot = rng.choice(list(PLOTS))
    habits = [h for h in HABITS if not (plot in MEETS_FRIEND and "{friend}" in h)
              and not (plot in FINDS_TOY and "{toy}" in h)]
    habit = rng.choice(habits)
    facts |= friend_title(facts, known="{friend}" in habit)
    parts = [rng.choice(OPENINGS), habit]
    parts += [rng.choice(part) for part in PLOTS[plot]]
    parts.append(rng.choice(ENDINGS))
    return " ".join(fill(rng, part, facts) for part in parts)


def make_stories(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return [make_story(rng) for _ in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  grammar.py --seed 7 --count 3")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choices")
    parser.add_argument("--count", type=int, default=10, help="number of stories")
    args = parser.parse_args()
    for story in make_stories(args.seed, args.count):
        print(story)
    return 0


if __name__ == "__main__":
    sys.exit(main())
