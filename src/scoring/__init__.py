"""Online: what happens between an event or a request coming in and its answer going out."""
