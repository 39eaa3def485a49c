#!/usr/bin/env python3
"""Runs what scripts/demo runs after the build, and looks at the story."""

from __future__ import annotations

import pathlib
import re
import subprocess
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class DemoTest(unittest.TestCase):
    def setUp(self) -> None:
        result = subprocess.run([REPOSITORY / "scripts/demo", "--no-build"], capture_output=True,
                                text=True, check=False, timeout=600, stdin=subprocess.DEVNULL)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.story, _, self.figures = result.stdout.partition("\n\nmodel ")

    def test_tells_a_story_and_its_speed(self) -> None:
        self.assertTrue(self.story.startswith("Once upon a time"), self.story)
        self.assertGreater(len(self.story.split()), 60, self.story)
        # Words, not noise: what the training's grammar can say.
        source = (REPOSITORY / "examples/tiny-stories/grammar.py").read_text().lower()
        words = re.findall(r"[a-z]{3,}", self.story.lower())
        # The last word may be cut; verbs and nouns are inflected.
        known = [word for word in words[:-1] if word.rstrip("sd") in source or word[:-2] in source]
        self.assertGreater(len(known), 0.95 * (len(words) - 1), sorted(set(words) - set(known)))

        for phase in ("prefill", "decode"):
            speed = re.search(rf"^{phase} +64 tokens +([\d.]+) tokens/s", self.figures, re.M)
            self.assertIsNotNone(speed, self.figures)
            self.assertGreater(float(speed[1]), 0)


if __name__ == "__main__":
    unittest.main()
