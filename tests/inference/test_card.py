from inference.service.page.card import html

CARD = """---
license: apache-2.0
---
# Model card

Right on **96 %** of `test` & *more*.

| intent | F1 |
| --- | --- |
| <b>a</b> \\| b | 97 % |

- one
- two

![curve](plots/curve.png)
![out](../../etc/passwd)

```
<script>
```
"""


def test_a_card_is_shown_as_what_its_markdown_says() -> None:
    shown = html(CARD, "/plots-of-it")
    assert "apache" not in shown
    assert "<h2>Model card</h2>" in shown
    assert "<strong>96 %</strong> of <code>test</code> &amp; <em>more</em>" in shown
    assert "<td>&lt;b&gt;a&lt;/b&gt; | b</td><td>97 %</td>" in shown
    assert "<ul><li>one</li><li>two</li></ul>" in shown
    assert "<pre>&lt;script&gt;</pre>" in shown


def test_only_plots_of_the_bundle_are_images() -> None:
    assert '<img src="/plots-of-it/curve.png" alt="curve">' in html("![curve](plots/curve.png)", "/plots-of-it")
    for other in ("![x](../../etc/passwd)", "![x](http://evil.example/a.png)", '![x](plots/a".png)'):
        assert "<img" not in html(other, "/plots-of-it")
    assert "<a" not in html("[x](javascript:alert(1))", "/plots-of-it")
