"""Asks real Salt how it parses command line arguments: tests/golden/arguments.json.

    python3 arguments.py SALT_PYTHON... > ../golden/arguments.json

Each SALT_PYTHON is the interpreter of an environment with some release of Salt; the script
fails when two of them disagree.
"""

import json
import sys

from values import run_under, typed

PROBES = r"""
tag my/tag 1 01 0x1F 0o17 017 0b101 -5 +5 1_000 10_000.5 1.0 1. 1e3 1.5e3 .5 1:30 12:30:45
True true TRUE yes Yes on off No y n None none null NULL ~ '' "" '1' "1" 2024-01-02
2024-01-02T03:04:05Z [1,2 [a,] {"data":"x"} {a:1} {} [] key=value key=1 a-b=1 1a=2 a.b=1 =x key=
key=a=b foo=01 foo=2024-01-02 foo=1_000 __kwarg__=True #abc a#b !foo * *a @x %x `x` é ☃ \n "a\nb"
.inf .nan -.inf inf nan 1.2.3 1,2 1,000 a,b http://x/y?z=1 C:\x ? - -- --- = << 0.10 1.10 00 0 -0
1e400 12345678901234567890123 0777 0o8 Yes=1 | > | >- |- ! !! !!str !!null & &a a: :a a:b : :: ::1
... -... ---- .... ..  . / // \ \\ $ $HOME ~root ~/x %20 ^ ( ) ; < > >> , ,, [ ] { } [[]] [{}] {[]}
{{}} [~] [,] {,} {a} {a,b} {a,} {a:} {:} {: a} [:] [a:b] [a:1] [?] [-] [-1] [- 1] {-1} [=] [<<] {=}
+ +1 -1 --1 +-1 +.5 -.5 -.Inf .Inf .INF +.inf +.nan -.nan .NaN .NAN .Nan Inf NaN +0 -00 000 0_0 0_
_ __ _1 1_ 1__2 0x 0b 0x_ 0b_ 0x1_F 0xg 0XFF 0B1 -0x1F +0x1F -0b11 +0755 -0755 08 09 0o 018 0_7 07_1
1_000.5 1._5 1.5_ ._5 1.e+5 1.e5 1.0e+5 1.0e-5 1.0E+05 1.0e+ 1e+5 .5e+3 .5e3 1.5e+300 1.5e+400 0.0 -0.0
00.5 01.50 1..2 1.2e 60:00 1:60 1:59 1:5 1:05 1:005 0:30 00:30 -1:30 +1:30 1:30:00 1:2:3:4 1:30.5 1:30.
0:0.5 -1:30.25 1_0:30 1:3_0 20:03:20 190:20:30 190:20:30.15 99999999999999999999999 9223372036854775807
9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775809
20260102030405123456 -2026010203040512345 20260102030405123456_1 2026010203040512345 020260102030405123456
jid=20260102030405123456 [20260102030405123456]
yES tRUE fALSE False FALSE false NO no nO ON On oN OFF Off oFF Y N Null nULL nil NONE Yes. yes! t f on/off
2024-1-2 2024-01-02T03:04:05 2024-13-45 20240102 2024-01 12:30 24:00 1970-01-01T00:00:00.5+01:00
a=b=c a==b a= a=' a=" a='' a="" a='b' a="b" a=[1,2] a=[1,2 a={} a={b:1} a=~ a=null a=None a=none a=yes
a=0x1F a=1:30 a=1_000 a=.5 a=.inf a=- a=--- a=... a=# a=#b a=b#c a=[1]#c a=! a=| a=* a=@ a=% a=%x a=&b a==
_a=1 __a=1 a_b=1 a-=1 -a=1 .a=1 a.=1 a..b=1 a/b=1 a:b=1 A=1 é=1 éa=1 aé=1 ☃=1 a☃=1 1=1 a1=1 日本=1 ٣=1 a٣=1
saltenv=base test=True pillar={} name=x/y a=2024-01-02 a=1.10 a=1e3 a=017 a=08
__pub_x=1 __kwarg__=1 x=__kwarg__
!!int !!int:1 !!float !!bool !!binary !!set !!map !!seq !!omap !!python/name:os.system !<x> !<tag:yaml.org,2002:str>
"\x41" "\u00e9" "\U0001F600" "\ud83d\ude00" "\ud800" "\/" "\q" "\e" "\N" "\_" "\L" "\P" "\0" "\a\b\v\f" "\"" "\\" "
' 'a 'a' 'it''s' ''' '''' "a "a"b 'a'b "a"'b' a'b a"b a'b' "a": 'a': ["a"] ['a'] {"a"} {"a":1} {'a':1} {"a":}
{"a":"b"} {"a":[1,2,{"b":null}]} {"a":true,"b":false,"c":null,"d":1.5,"e":"é"} {"a":1,"a":2} {"a":1,} [1,,2]
["x","y"] [true,false,null] [1.0,2.5] [0x10,017,1:30] {1:2} {"1":2} {true:1} {~:1} {a:b,c:d} {?a:b}
%YAML %TAG %YAML:1.1 [%x] [@x] [`x] [*x] [&x] [!x] [|] [>] [#x] {#x} {#} [#] # ## #! -#
192.168.0.1 10.0.0.0/8 fe80::1 [::1] ::1/128 1.1.1 v1.2 1.2-3 1-2 1/2 50% 5m 1G 1k user@host a+b a*b a?b
*.log **/*.py web* web[0-9]* web{1,2} G@os:Debian 'G@os:Debian' E@web\d+ L@a,b "not
"""

# Probes with blanks in them, one a line.
SPACED = r"""
[1, 2, a]
{a: 1}
{a: 1, b: [x, y]}
{success: True, message: "It works!"}
{"data": "x"}
{a: 1
a: 1
a: b: c
- a
key={a: 1}
key='x y'
key=x y
a b=c
 a=b
a =b
a= b
a #b
a # b
# b
 # b
 #b
[1] #b
[1]#b
{a: 1} # b
{a: 1}#b
"a"#b
"a" #b
'a' # b
1 # one
1#one
1.5 # x
true # x
null # x
~ #
None #
yes #x
a: 1 # x
- a # x
!!binary aGk= # x
!!set {a} # x
2024-01-02 # x
'#' # x
a: # x
{a: '#'}
[a, '#']
["#", b]
{a: b#c}
[a#b, c]
!!str 1
!!str [1]
!!str
!!int 1
!!int "7"
!!int "017"
!!int x
!!int 1.5
!!float 1
!!float 1e3
!!float x
!!float nan
!!float " 1.5 "
!!bool yes
!!bool "No"
!!bool x
!!null x
!!null ''
!!binary aGVsbG8=
!!binary aGVsbG8
!!timestamp 2024-01-02
!!timestamp x
!!set {a, b}
!!omap [a: 1, b: 2]
!!pairs [a: 1, a: 2]
!!map {a: 1}
!!map [a]
!!seq [a]
!!seq {a: 1}
!!python/unicode x
!!python/tuple [1, 2]
!!merge <<
!!value =
! x
! 1
! "1"
! '1'
! [1]
! {a: 1}
!foo bar
!!foo bar
!!yaml x
[! 1]
[!!str 1, !!int "2"]
[! "1", "1"]
{a: ! "1"}
{a: !!binary aGVsbG8=}
{a: !!set {x, y}}
{a: !!omap [x: 1]}
!<tag:yaml.org,2002:str> 1
!<tag:yaml.org,2002:int> "1"
!<tag:yaml.org,2002:foo> 1
!e!x 1
&a b
&a
&a 1
[&a 1, *a]
[&a [1], *a, *a]
[*a]
{a: &x {b: 1}, c: *x}
{a: &x {b: 1}, <<: *x}
{<<: {b: 1}, a: 2}
{<<: {a: 1}, a: 2}
{<<: [{a: 1}, {b: 2}]}
{<<: [{a: 1}, {a: 2}]}
{<<: [{a: 1}, {a: 2}], a: 3}
{<<: {a: 1}, <<: {b: 2}}
{<<: {a: 1}, <<: {a: 2}}
{<<: {<<: {a: 1}, b: 2}, c: 3}
{<<: x}
{<<: [x]}
{<<: }
{<<: []}
{<<: {}}
{<<: {1: a}, 1: b}
{<<: {"1": a}, 1: b}
{<<: {[x]: a}}
{"<<": {a: 1}}
{'<<': 1}
{=: 1}
{=: 1, =: 2}
{a: =}
{a: <<}
[<<, 1]
{a: 1, a: 2}
{a: 1, "a": 2}
{1: a, 1.0: b}
{1: a, true: b}
{0: a, false: b}
{0: a, -0.0: b}
{1: a, "1": b}
{.nan: a, .nan: b}
{~: a, null: b}
{~: a, "": b}
{[a]: 1}
{{a: 1}: 1}
{[a, b]: 1, c: 2}
{? a : b}
{? a}
{? [a] : b}
{a: {a: 1, a: 2}}
{a: null}
{a: }
{a: , b: }
{a: 2024-01-02}
{a: 2024-01-02 03:04:05}
{a: yes}
{a: 017}
{a: +017}
{a: 08}
{a: 0x10}
{a: 1_000}
{a: 1e3}
{a: 1.5e+3}
{a: 1:30}
{a: "1"}
{a: '1'}
{a: 0o17}
{1: 2}
{1.5: 2}
{yes: no}
{ a: 1 }
{ }
[ ]
[ 1 ]
 [1]
 {a: 1}
[1] 
{a: 1} 
 1
1 
 1 
 yes
yes 
 None
None 
 ~ 
 null
 tag
tag 
 'a' 
' '
" "
' a '
" a "
 
  
 ---
--- 
--- a
--- [1]
--- {a: 1}
---a
--- - a
... a
a ...
a --- b
a ---
--- |
--- > x
%YAML 1.1
%YAML 1.1 --- a
a, b
a , b
a,b c
[a b]
[a b, c d]
{a b: c d}
{a b}
[a, [b, [c, [d]]]]
[1, [2, {b: c}]]
[[1, 2], [3, 4]]
[a: 1]
[a: 1, b: 2]
[a : 1]
[? a : 1]
[: 1]
[a, b: c, {d: e}]
[a]b
[a] b
[a][b]
{a: 1}{b: 2}
{a: 1} b
"a" b
'a' 'b'
"a"  "b"
> x
| x
>x
|x
? a
? a : b
- 
-  a
- - a
-a
- a - b
: a
a :b
a : b
a:  b
a:b c
a:b: c
"a": b
'a': b
{'a': b}
{"a" : b}
{"a":1, "b":[1,2]}
{"a": "b: c"}
{a: b: c}
{a: 'it''s'}
{a: "x\ny"}
{a: "\u2603"}
{a: é☃}
{é: 1}
[é, ☃]
hello world
hello: world
echo "hello world"
echo 'a: b'
ls -la /tmp
a=b c=d
cmd=ls -la
cmd='ls -la'
cmd="echo {a: b}"
cmd=echo a: b
data={"x": [1, 2, 3]}
data={'x': 1}
l=[a, b]
m={a: 1, b: {c: d}}
n=- a
q=a: b
tgt=G@os:Debian and web*
x=1 # c
x=# c
x=a # c
x=[1] # c
x={a: 1} # c
1 2
1 000
1, 2
true false
yes no
2024-01-02 03:04:05
2024-01-02 03:04:05.5
2024-01-02 03:04:05 +01:00
2024-01-02 3:04:05
{{ x }}
{% x %}
{{ a.b }} c
{{a}}
{{ {a: 1} }}
*a b
@x y
% x
& a
* a
! 
!  x
"\
'\'
"\x4"
"\u00"
"\ "
"a\ b"
"\	"
"""

# Probes with characters that do not show, and long or deep ones.
ODD = [
    "", "\t", "\n", "\r", "\t1", "1\t", "1\n", "\n1", "a\nb", "a\tb", "[1,\n2]", "{a: 1}\n", "a=1\n", "a=\n", "a=b\nc",
    "a=1\n\n", "a\n=1", "a=[1]\n", "line1: x\nline2: y", "\x00", "a\x00b", "\x01", "\x07", "\x1b[0m", "\x7f", "\x80", "\x85",
    "a\x85b", "\xa0", "\xa01", "1\xa0", "\u2003", "\u2028", "a\u2028b", "1\u2028", "[1,\u20282]", "\u2029", "\ufeff", "\ufeff1",
    "a\ufeff", "1\ufeff", "\ufffe", "\uffff", "\ufffd", "\U0001f600", "[\U0001f600]", "{\U0001f600: 1}", "\x1c", "\x1c1", " \x1f ",
    "\x1c1_0\x1c", "\u2003---\u2003", "\u20031_0", "[1,\x85 2]", "'a\u2028b'", '"a\u2029b"', "\x0b", "\x0c", "1\x0c",
    "[" * 20 + "]" * 20, "{a: " * 20 + "1" + "}" * 20, "[" * 100 + "]" * 100, "[" * 200, "]" * 20, "{" * 20,
    "a" * 2000, "{" + "a" * 1500 + ": 1}", "{a: " + "b" * 3000 + "}", "[" + ",".join(map(str, range(200))) + "]",
    '{"' + "k" * 1100 + '": 1}', "'" + "x" * 1500 + "'",
    "1" * 39, "9" * 38, "-" + "9" * 38, "1" * 20, "1" * 21, "1" * 19, "0x" + "f" * 31, "0b" + "1" * 100,
]


def probes():
    """All probes, each once, in order."""
    spaced = SPACED.strip("\n").split("\n")
    return list(dict.fromkeys(PROBES.split() + spaced + ODD))


def dump():
    """Prints Salt's reading of every probe."""
    import salt.utils.args
    import salt.version

    rows = []
    for probe in probes():
        parsed = salt.utils.args.parse_input([probe])
        keyword = {}
        if parsed and isinstance(parsed[-1], dict) and parsed[-1].pop("__kwarg__", False) is True:
            keyword = parsed.pop()
        # Whole numbers past 128 bits are text for Brine; none of the probes has one.
        rows.append({"in": probe, "positional": typed(parsed), "keyword": typed(keyword)["map"]})
    json.dump({"salt": salt.version.__version__, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1:] == ["--dump"]:
        dump()
    else:
        run_under(__file__, sys.argv[1:])
