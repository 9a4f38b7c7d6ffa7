"""What importing the adapter needs, and what it does not disturb."""

from __future__ import annotations

from tests.workload.scripts import run_alone


def test_a_missing_package() -> None:
    """Without the package `spiffe` the import says what to install."""
    printed = run_alone(
        """
        import sys
        sys.modules["spiffe"] = None  # as if it were not installed
        try:
            import serviceradar_security.spiffe
        except ImportError as error:
            print(error)
        """,
    )
    assert printed.strip() == (
        "serviceradar_security.spiffe needs spiffe: pip install 'serviceradar-security[spiffe]'"
    )


def test_the_other_package_keeps_its_name() -> None:
    """The adapter of the same name does not stand before the package `spiffe`."""
    printed = run_alone(
        """
        import serviceradar_security.spiffe as ours
        import spiffe
        from serviceradar_security.spiffe import from_spiffe
        assert spiffe is not ours
        print(spiffe.__name__, ours.__name__, from_spiffe(spiffe.SpiffeId("spiffe://a.test/x")))
        """,
    )
    assert printed.split() == ["spiffe", "serviceradar_security.spiffe", "spiffe://a.test/x"]


def test_nobody_else_imports_it() -> None:
    """What does not use the bridge does not load the package `spiffe`."""
    printed = run_alone(
        """
        import sys
        import serviceradar_security
        for name in serviceradar_security.__all__:
            getattr(serviceradar_security, name)
        print([each for each in sys.modules if each.split(".")[0] in ("spiffe", "jwt")])
        """,
    )
    assert printed.strip() == "[]"


def test_all_is_what_is_offered() -> None:
    """`__all__` names what is there, each documented."""
    from serviceradar_security import spiffe as adapter  # noqa: PLC0415 - the name of another package

    assert sorted(adapter.__all__) == adapter.__all__
    for name in adapter.__all__:
        assert (getattr(adapter, name).__doc__ or "").strip()
