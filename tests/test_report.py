import base64
import re

import cv2
import numpy as np

from nucleosynth.report import Figure, Section, render_report


def test_a_report_holds_its_pictures_and_refers_to_nothing_outside():
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 0] = 250
    page = render_report("A < B", "Why & how", [Section("One", "<code>x</code>", [Figure(image, 'a "red" one')])], [])
    assert "A &lt; B" in page
    assert "Why &amp; how" in page
    assert "<code>x</code>" in page
    assert 'alt="a &quot;red&quot; one"' in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    encoded = re.search(r"base64,([^\"]+)", page).group(1)
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(encoded), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape == image.shape
    assert np.abs(shown[..., ::-1].astype(int) - image).max() < 8


def test_commands_are_shown_as_they_are_typed():
    page = render_report("T", "I", [], [("Do this", 'run "a b" > c')])
    assert "<pre>run &quot;a b&quot; &gt; c</pre>" in page
