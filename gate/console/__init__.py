"""Pages for people: kiosk, admin, audit."""
