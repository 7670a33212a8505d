"""Real Salt's half of the test that both cryptographies understand each other.

    salt_crypt.py keys DIR      writes theirs.pem, theirs.pub and locked.pem (passphrase "secret")
    salt_crypt.py check DIR     reads what ours made from stdin, prints what Salt makes of it, and
                                its own for ours.pub; both JSON, bytes in hexadecimal digits
"""

import json
import os
import sys

import salt.crypt
import salt.utils.crypt

ALGORITHMS = {"sign": ["PKCS1v15-SHA1", "PKCS1v15-SHA224"], "encrypt": ["OAEP-SHA1", "OAEP-SHA224"]}
OBJECT = {"text": "grün", "bytes": b"\xff\x00", "list": [1, -1, 2**40, None, True], "map": {"a": 1.5}}


def from_file(kind, path):
    return getattr(kind, "from_file", kind)(path)


def keys(folder):
    write = getattr(salt.crypt, "write_keys", None) or salt.crypt.gen_keys
    write(folder, "theirs", 2048)
    write(folder, "locked", 2048, passphrase="secret")


def check(folder, ours):
    own = from_file(salt.crypt.PrivateKey, os.path.join(folder, "theirs.pem"))
    path = os.path.join(folder, "ours.pub")
    other = from_file(salt.crypt.PublicKey, path)
    message = bytes.fromhex(ours["message"])
    nonce = ours["nonce"]
    crypticle = salt.crypt.Crypticle({}, ours["key"])
    loaded = [
        crypticle.loads(bytes.fromhex(sealed), nonce=expected)
        for sealed, expected in zip(ours["sealed"], [None, nonce])
    ]
    new_key = salt.crypt.Crypticle.generate_key_string()
    if isinstance(new_key, bytes):
        new_key = new_key.decode()
    new = salt.crypt.Crypticle({}, new_key)
    return {
        "verified": [
            bool(other.verify(message, bytes.fromhex(sig), algorithm))
            for algorithm, sig in zip(ALGORITHMS["sign"], ours["signed"])
        ],
        "decrypted": [
            own.decrypt(bytes.fromhex(text), algorithm).hex()
            for algorithm, text in zip(ALGORITHMS["encrypt"], ours["encrypted"])
        ],
        "recovered": other.decrypt(bytes.fromhex(ours["x931"])).hex(),
        "loaded": [value == OBJECT for value in loaded],
        "finger": salt.utils.crypt.pem_finger(path),
        "signed": [own.sign(message, algorithm).hex() for algorithm in ALGORITHMS["sign"]],
        "encrypted": [other.encrypt(message, algorithm).hex() for algorithm in ALGORITHMS["encrypt"]],
        "x931": own.encrypt(message).hex(),
        "key": new_key,
        "sealed": [new.dumps(OBJECT).hex(), new.dumps(OBJECT, nonce=nonce).hex()],
    }


if sys.argv[1] == "keys":
    keys(sys.argv[2])
else:
    print(json.dumps(check(sys.argv[2], json.load(sys.stdin))))
