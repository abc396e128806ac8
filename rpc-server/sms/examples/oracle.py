"""Compares the texts and numbers of rpc-sms with those of other implementations: oracle.py PROGRAM NODE_DIR TEXTS

Every difference is either listed here with its reason, or an error.
"""

import collections
import json
import random
import subprocess
import sys

import phonenumbers
from phonenumbers import PhoneNumberType

program, node_dir, texts_count = sys.argv[1], sys.argv[2], int(sys.argv[3])

NODE = """
const {SegmentedMessage} = require(process.argv[1] + '/node_modules/sms-segments-calculator');
const lines = require('fs').readFileSync(0, 'utf8').trimEnd().split('\\n');
for (const line of lines) {
  const message = new SegmentedMessage(JSON.parse(line));
  console.log(message.encodingName.replace('-', '').toLowerCase() + ' ' + message.segmentsCount);
}
"""

# Texts that the two judge differently: ours, theirs, the reason.
TEXT_DIFFERENCES = [
    ("中" * 66 + "e\u0301" + "中" * 3, "ucs2 2", "ucs2 2", "the same here, although the calculator keeps e and its accent together"),
    ("中" * 66 + "e\u0301" * 34, "ucs2 2", "ucs2 3", "the calculator never splits a character of several code points; phones join the segments"),
]

# Kinds of numbers that the two name differently: libphonenumber's, ours, the reason.
NORTH_AMERICA = "numbers under calling code 1 are one of both for us, since an area code tells no more"
BEYOND = "a range that phonelib knows nothing of: such a number is refused by no rule of kinds"
VOICEMAIL = "phonelib has no kind of its own for voice mail"
KIND_DIFFERENCES = {
    ("fixed_line", "fixed_line_or_mobile"): NORTH_AMERICA,
    ("mobile", "fixed_line_or_mobile"): NORTH_AMERICA,
    ("voip", "fixed_line_or_mobile"): NORTH_AMERICA,
    ("pager", "fixed_line_or_mobile"): NORTH_AMERICA,
    ("uan", "fixed_line_or_mobile"): NORTH_AMERICA,
    ("voicemail", "fixed_line_or_mobile"): NORTH_AMERICA,
    ("voicemail", "unknown"): VOICEMAIL,
    ("voicemail", "mobile"): VOICEMAIL,
    ("voicemail", "fixed_line"): VOICEMAIL,
    ("fixed_line_or_mobile", "unknown"): BEYOND,
    ("fixed_line", "unknown"): BEYOND,
    ("mobile", "unknown"): BEYOND,
    ("toll_free", "unknown"): BEYOND,
    ("voip", "unknown"): BEYOND,
}
# Numbers that only one of the two takes.
REFUSED = {"+13101234": "Canada's 310 numbers have seven digits, and cannot be dialled from abroad"}


def lines_of(command, texts):
    given = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    answers = done.stdout.splitlines()
    assert len(answers) == len(texts), f"{len(answers)} answers to {len(texts)} lines"
    return answers


def random_texts(count):
    """Texts around the ends of segments, of characters that are one code point each."""
    chance = random.Random(4711)
    plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;!?@£$¥èéùìòÇ\nØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ#¤%&'()*+-/<=>¡ÄÖÑÜ§¿äöñüà\""
    extended = "^{}\\[~]|€\f"
    beyond = "ç`Á’“–…中文短信验证码жйあア한글ת"
    pairs = "😀🚀𝄞𠀀"
    for _ in range(count):
        pools = [plain]
        if chance.random() < 0.5:
            pools.append(extended)
        if chance.random() < 0.4:
            pools.append(beyond)
        if chance.random() < 0.3:
            pools.append(pairs)
        near = chance.choice([35, 67, 70, 80, 134, 140, 153, 160, 201, 306, 459, 700])
        length = max(1, near + chance.randint(-4, 4)) if chance.random() < 0.8 else chance.randint(1, 900)
        yield "".join(chance.choice(chance.choice(pools)) for _ in range(length))


def compare_texts():
    texts = list(random_texts(texts_count))
    ours = lines_of([program, "layout"], texts)
    theirs = lines_of(["node", "-e", NODE, node_dir], texts)
    wrong = [(text, a, b) for text, a, b in zip(texts, ours, theirs) if a != b]
    for text, a, b in wrong[:5]:
        print(f"{text!r}: {a}, and the calculator says {b}", file=sys.stderr)

    known = [text for text, *_ in TEXT_DIFFERENCES]
    pairs = zip(TEXT_DIFFERENCES, lines_of([program, "layout"], known), lines_of(["node", "-e", NODE, node_dir], known))
    for (text, our, their, reason), a, b in pairs:
        if (a, b) != (our, their):
            print(f"{text!r}: {a} and {b}; listed are {our} and {their} ({reason})", file=sys.stderr)
            wrong.append(text)
    by_encoding = collections.Counter(answer.split()[0] for answer in ours)
    print(f"{len(texts)} texts ({dict(by_encoding)}): {len(wrong)} differences that are not listed")
    return bool(wrong)


def example_numbers():
    kinds = [value for name, value in vars(PhoneNumberType).items() if name.isupper()]
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in kinds:
            if number := phonenumbers.example_number_for_type(region, kind):
                yield number
    for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS):
        if number := phonenumbers.example_number_for_non_geo_entity(code):
            yield number


def compare_numbers():
    names = {value: name.lower() for name, value in vars(PhoneNumberType).items() if name.isupper()}
    numbers = list(example_numbers())
    written = [phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) for number in numbers]
    listed, wrong = collections.Counter(), 0
    for text, answer in zip(written, lines_of([program, "number"], written)):
        number = phonenumbers.parse(text)
        country, kind = phonenumbers.region_code_for_number(number), names[phonenumbers.number_type(number)]
        our_country, our_kind = answer.split(" ", 1)
        if our_country == "-" and text in REFUSED:
            listed[REFUSED[text]] += 1
        elif our_country != country:
            print(f"{text} is of {country}, and we say {answer}", file=sys.stderr)
            wrong += 1
        elif kind != our_kind:
            reason = KIND_DIFFERENCES.get((kind, our_kind))
            if reason is None:
                print(f"{text} is {kind}, and we say {our_kind}", file=sys.stderr)
                wrong += 1
            else:
                listed[reason] += 1
    print(f"{len(numbers)} numbers: {wrong} differences that are not listed; listed ones:")
    for reason, count in listed.most_common():
        print(f"  {count:3} {reason}")
    return bool(wrong)


failures = [compare_texts(), compare_numbers()]
sys.exit(any(failures))
