"""Values of every built-in type as SQL literals, the awkward ones first; all from one random.Random."""

import json
import uuid

PIECES = ["a", "B", "ü", "€", "漢字", "😀", "'", '"', "\\", "\n", "\t", "\x01", "{", "}", ",", "NULL",
          "null", " ", "\r", "%", "$1", "</a>", "\x7f", "\u2028"]

# Values that are equal, or nearly, but print differently: what a key must not confuse.
ALIKE = {
    "numeric": ["1.10", "1.1", "1.1000", "0", "-0.0"],
    "float8": ["0", "-0"],
    "float4": ["0", "-0"],
    "jsonb": ["1.10", "1.1", '{"a":1.0}', '{"a":1}', "null"],
    "interval": ["1 mon", "30 days", "720:00"],
    "citext": ["Ab", "aB", "ab"],
    "char(9)": ["a", "a  "],
    "numrange": ["[1.10,2)", "[1.1,2.0)"],
    "timetz": ["10:00+00", "11:00+01"],
    "inet": ["10.0.0.1", "10.0.0.1/32"],
    "numeric[]": ["{1.10}", "{1.1}"],
    "float8[]": ["{0,-0}", "{-0,0}"],
    "interval[]": ["{1 mon}", "{30 days}"],
}


def quoted(text):
    text = text.replace("'", "''")
    return " E'" + text.replace("\\", "\\\\") + "'" if "\\" in text else f"'{text}'"


class Values:
    """types: those of `schema` too. literal(type) is an expression of that type."""

    # Without an operator class for btree, so never part of a key.
    NO_KEY = {"json", "xml", "point", "box", "circle", "path", "polygon", "lseg", "line", "jsonpath"}

    def __init__(self, rng, schema):
        self.rng, self.pools = rng, {}
        whole, choice = rng.randrange, rng.choice

        def integer(bits, signed=True):
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            return lambda: str(choice([low, high, 0, whole(low, high)]))

        def pick(*given):
            return lambda: choice(given)

        self.make = {
            "int2": integer(16), "int4": integer(32), "int8": integer(64), "oid": integer(32, False),
            "numeric": lambda: choice(["0", "NaN", "1e-20", "1e30", "Infinity", "-Infinity", "1.1000",
                                       "123456789012345678901234567890.123456789", str(rng.random())]),
            "numeric(12,3)": lambda: choice(["NaN", "-0.0005", f"{rng.random() * 1e5:.5f}"]),
            "float4": lambda: choice(["0", "-0", "NaN", "Infinity", "1e-30", "0.1", str(rng.random())]),
            "float8": lambda: choice(["0", "-0", "NaN", "-Infinity", "1e-300", "1.7976931348623157e308",
                                      repr(rng.random() * 10 ** whole(-30, 30))]),
            "money": lambda: str(whole(-(10**6), 10**6) / 100),
            "bool": pick("true", "false"),
            "text": lambda: self.text(8), "varchar(20)": lambda: self.text(8)[:20],
            "char(9)": lambda: self.text(5)[:9], "name": lambda: self.text(4), "citext": lambda: self.text(3),
            '"char"': pick("a", "", "\\", '"'),
            "bytea": lambda: "\\x" + rng.randbytes(whole(12)).hex(),
            "date": lambda: choice(["infinity", "4713-01-01 BC", "2020-02-29", self.day()]),
            "time": lambda: self.clock(), "timetz": lambda: self.clock() + choice(["+00", "-11:30"]),
            "timestamp": lambda: self.moment(), "timestamp(2)": lambda: self.moment(),
            "timestamptz": lambda: self.moment(),
            "interval": lambda: f"{whole(-99, 99)} years {whole(-99, 99)} mons {whole(-99, 99)} days "
                                f"{whole(-9999, 9999)}.{whole(10**6):06d} secs",
            "uuid": lambda: str(uuid.UUID(int=rng.getrandbits(128))),
            "json": lambda: self.json(), "jsonb": lambda: self.json().replace("\\u0000", ""),
            "xml": pick('<a b="1">x &amp; y</a>'), "jsonpath": pick('$."a"[*] ? (@ > 1)', "$"),
            "inet": lambda: f"10.{whole(256)}.3.4/{whole(33)}", "cidr": lambda: f"10.{whole(256)}.0.0/16",
            "macaddr": lambda: f"08:00:2b:01:02:{whole(256):02x}",
            "macaddr8": lambda: f"08:00:2b:01:02:03:04:{whole(256):02x}",
            "bit(7)": lambda: self.bits(7), "varbit": lambda: self.bits(whole(20)),
            "point": pick("(1,-0)", "(NaN,0.1)"), "box": pick("(1,2),(3,4.5)"), "circle": pick("<(1,2),3.3>"),
            "path": pick("[(1,2),(3,4)]", "((1,2),(3,4))"), "polygon": pick("((0,0),(1,1),(1,0))"),
            "lseg": pick("[(1,2),(3,4)]"), "line": pick("{1,-1,0}"),
            "int4range": lambda: self.range(), "int8range": lambda: self.range(), "numrange": lambda: self.range(),
            "int4multirange": pick("{}", "{[1,3),[7,9)}", "{(,0),[5,)}"),
            "tsrange": pick('["2020-01-01 00:00","infinity")', "empty"),
            "tstzrange": pick('["2020-01-01 00:00+02",)'), "daterange": pick("[2020-01-01,2021-01-01]"),
            "tsvector": pick("'a':1A 'b ''c':2,3B", ""), "tsquery": pick("'a' & ('b' | !'c':A)"),
            "pg_lsn": lambda: f"{whole(99):X}/{whole(2**32):X}",
            f'{schema}."Mood ü"': pick("sad", "o'k", '"q"', "ü,{}"),
            f"{schema}.positive": lambda: str(whole(1, 1000)),
            f"{schema}.pair": lambda: f"({whole(9)},{self.element(self.text(6))})",
            f"{schema}.deep": lambda: f'({self.element(self.text(6))},"{{{rng.random():.3f},NULL}}",'
                                      f"{self.element(self.json())})",
        }
        self.NO_KEY = self.NO_KEY | {f"{schema}.deep"}
        self.types = [t + more for t in self.make for more in ("", "[]")]
        self.key_types = [t for t in self.types if t.removesuffix("[]") not in self.NO_KEY]

    @staticmethod
    def definitions(schema):
        return f"""
            CREATE EXTENSION IF NOT EXISTS citext;
            CREATE TYPE {schema}."Mood ü" AS ENUM ('sad', 'o''k', '"q"', 'ü,{{}}');
            CREATE DOMAIN {schema}.positive AS int CHECK (VALUE > 0);
            CREATE TYPE {schema}.pair AS (a int, "B b" text);
            CREATE TYPE {schema}.deep AS (t text, c numeric[], j json)"""

    def text(self, most):
        return "".join(self.rng.choice(PIECES) for _ in range(self.rng.randrange(most)))

    def bits(self, count):
        return "".join(self.rng.choice("01") for _ in range(count))

    def day(self):
        return f"{self.rng.randrange(1, 9999):04d}-{self.rng.randrange(1, 13):02d}-{self.rng.randrange(1, 29):02d}"

    def clock(self):
        r = self.rng.randrange
        return f"{r(24):02d}:{r(60):02d}:{r(60):02d}.{r(10**6):06d}"

    def moment(self):
        return self.rng.choice(["infinity", "-infinity", "4713-01-01 00:00:00 BC", f"{self.day()} {self.clock()}"])

    def range(self):
        low = self.rng.randrange(-100, 100)
        return self.rng.choice(["empty", f"[{low},{low + 7})", f"[{low},]", f"(,{low}]", "(,)"])

    def json(self, depth=0):
        kind = self.rng.randrange(6 if depth < 3 else 4)
        if kind == 0:
            return self.rng.choice(["null", "true", "false"])
        if kind == 1:
            return self.rng.choice(["0", "-0", "1e400", "1.10", "12345678901234567890123", "1E5"])
        if kind < 4:
            return json.dumps(self.text(8), ensure_ascii=self.rng.random() < 0.5)
        inner = [self.json(depth + 1) for _ in range(self.rng.randrange(4))]
        if kind == 4:
            return f"[{', '.join(inner)}]"
        return f"{{{', '.join(json.dumps(self.text(3)) + ' : ' + value for value in inner)}}}"

    @staticmethod
    def element(text):
        """Of a composite's literal."""
        return '"' + text.replace("\\", "\\\\").replace('"', '""') + '"'

    def literal(self, kind):
        if not kind.endswith("[]"):
            return f"{quoted(self.make[kind]())}::{kind}"
        of = kind[:-2]
        shape = self.rng.randrange(4)
        if shape == 0:
            return f"ARRAY[]::{kind}"
        if shape == 1:
            return f"ARRAY[[{self.literal(of)},NULL],[{self.literal(of)},{self.literal(of)}]]"
        if shape == 2:
            return f"array_fill({self.literal(of)}, ARRAY[2], ARRAY[-1])"
        return f"ARRAY[{self.literal(of)},NULL,{self.literal(of)}]"

    def familiar(self, kind):
        """Mostly one of a few, so that rows meet."""
        if kind not in self.pools:
            alike = [f"{quoted(text)}::{kind}" for text in ALIKE.get(kind, [])]
            self.pools[kind] = [self.literal(kind) for _ in range(5)] + 2 * alike
        return self.rng.choice(self.pools[kind]) if self.rng.random() < 0.85 else self.literal(kind)
