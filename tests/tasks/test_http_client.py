from __future__ import annotations

import pytest

from streaming.tasks.http_client import URL_LENGTH_MAX, check_url


@pytest.mark.parametrize(
    ("text", "checked"),
    [
        ("http://example.com", "http://example.com"),
        ("HTTPS://EXAMPLE.com:443/a?b=c", "https://example.com/a?b=c"),
        ("http://example.com./x", "http://example.com/x"),
        ("http://example.com/x#part", "http://example.com/x"),
        ("http://münchen.test/x y", "http://xn--mnchen-3ya.test/x%20y"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
        ("http://[::1]:8000/", "http://[::1]:8000/"),
        ("http://2130706433/", "http://2130706433/"),
    ],
)
def test_a_url_gets_its_normal_form(text: str, checked: str) -> None:
    assert check_url(text) == checked
    assert check_url(checked) == checked


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "only http"),
        ("example.com", "only http"),
        ("//example.com/", "only http"),
        ("ftp://example.com/", "only http"),
        ("file:///etc/passwd", "only http"),
        ("javascript:alert(1)", "only http"),
        ("http://", "no valid host"),
        ("http:///path", "no valid host"),
        ("http:example.com", "no valid host"),
        ("http://./", "no valid host"),
        ("http://a b/", "no valid host"),
        ("http://%31%32%37.0.0.1/", "no valid host"),
        ("http://a,b/", "no valid host"),
        ("http://[fe80::1%25eth0]/", "no valid host"),
        ("http://user:secret@example.com/", "user name or password"),
        ("http://user@example.com/", "user name or password"),
        ("http://good.test\\@127.0.0.1/", "user name or password"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:-1/", "port"),
        ("http://example.com:x/", "not a URL"),
        ("http://127.0.0.256/", "not a URL"),
        ("http://\uff11\uff12\uff17.0.0.1/", "not a URL"),
        ("http://ⓛocalhost/", "not a URL"),
        ("http://example.com/\r\nHost: localhost", "not a URL"),
        ("http://example.com/\ud800", "not a URL"),
        ("http://example.com/" + "a" * URL_LENGTH_MAX, "characters"),
    ],
)
def test_what_cannot_be_fetched_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_url(text)
