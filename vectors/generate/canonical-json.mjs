/** Canonical JSON by the specification's appendix. Expected texts are written, not computed, where they are short. */
import { vectorFile } from './file.mjs';

const ORIGIN = { name: 'Matrix specification, appendices, canonical JSON', version: 'v1.19' };

const NOTES = {
  specification: 'Out of the examples of the specification.',
  control: 'A control character: it has one spelling in canonical JSON, the shortest.',
  escape: 'The input spells a character by an escape that it does not need.',
  order: 'The order of keys: by code point, which is not the order of UTF-16 units.',
  proto: 'A name that means something on JavaScript objects and nothing in JSON.',
  number: 'Numbers: integers within +-(2^53 - 1), without exponent or fraction in the output.',
  unicode: 'Characters outside ASCII stay as they are.',
  surrogate: 'A lone surrogate is no text and cannot be written as UTF-8.',
  structure: 'Nesting, emptiness, white space, values that are no objects.',
};

const SHORT = { 8: '\\b', 9: '\\t', 10: '\\n', 12: '\\f', 13: '\\r' };

/** The file. */
export function canonicalJson() {
  return vectorFile('canonical-json', ORIGIN, NOTES, [
    ...specification(),
    ...controls(),
    ...escapes(),
    ...orders(),
    ...names(),
    ...numbers(),
    ...structures(),
    ...surrogates(),
  ]);
}

const valid = (id, comment, flag, input, expected) => ({
  id,
  comment,
  flags: [flag],
  result: 'valid',
  input_json: input,
  expected,
});

const invalid = (id, comment, flag, input) => ({
  id,
  comment,
  flags: [flag],
  result: 'invalid',
  code: 'bad-canonical-json',
  input_json: input,
});

function specification() {
  return [
    ['{}', '{}'],
    ['{\n  "one": 1,\n  "two": "Two"\n}', '{"one":1,"two":"Two"}'],
    ['{"b": "2", "a": "1"}', '{"a":"1","b":"2"}'],
    [
      '{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}',
      '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}',
    ],
    ['{"a": "日本語"}', '{"a":"日本語"}'],
    ['{"本": 2, "日": 1}', '{"日":1,"本":2}'],
    ['{"a": "\\u65E5"}', '{"a":"日"}'],
    ['{"a": null}', '{"a":null}'],
    ['{"a": -0, "b": 1e10}', '{"a":0,"b":10000000000}'],
  ].map(([input, expected], i) =>
    valid(`specification-${i + 1}`, 'an example', 'specification', input, expected),
  );
}

function controls() {
  return Array.from({ length: 32 }, (_, code) => {
    const hex = code.toString(16).padStart(4, '0');
    const written = SHORT[code] ?? `\\u${hex}`;
    const name = `U+${hex.toUpperCase()}`;
    return [
      valid(
        `control-${hex}`,
        `${name} in a value`,
        'control',
        `"a\\u${hex.toUpperCase()}b"`,
        `"a${written}b"`,
      ),
      valid(`control-${hex}-key`, `${name} in a key`, 'control', `{"\\u${hex}":1}`, `{"${written}":1}`),
    ];
  })
    .flat()
    .concat([
      valid('control-007f', 'U+007F is no control character in JSON', 'control', '"\\u007f"', '"\u007f"'),
      valid('control-0080', 'U+0080 to U+009F neither', 'control', '"\\u0080\\u009f"', '"\u0080\u009f"'),
      valid(
        'control-order',
        'keys that are control characters',
        'control',
        '{"\\n":1,"\\t":2,"\\u0000":3," ":4}',
        '{"\\u0000":3,"\\t":2,"\\n":1," ":4}',
      ),
    ]);
}

function escapes() {
  return [
    ['quote', 'quotation mark and backslash', '"\\u0022\\u005c"', '"\\"\\\\"'],
    ['solidus', 'a solidus is not escaped', '"\\/\\u002f/"', '"///"'],
    ['letter', 'letters', '"\\u0041\\u00e4"', '"Aä"'],
    ['pair', 'an escaped surrogate pair', '"\\ud83d\\udd11"', '"🔑"'],
    ['separators', 'U+2028 and U+2029 stay', '"\\u2028\\u2029"', '"\u2028\u2029"'],
    ['markup', 'markup characters stay', '"<\\u003e&\'"', '"<>&\'"'],
    [
      'edges',
      'the edges of the planes',
      '"\\ud7ff\\ue000\\uffff\\ud800\\udc00\\udbff\\udfff"',
      '"\ud7ff\ue000\uffff\u{10000}\u{10ffff}"',
    ],
    ['bom', 'a byte order mark is a character', '"\\ufeff"', '"\ufeff"'],
    ['key', 'an escaped key', '{"\\u0062":1,"a":2}', '{"a":2,"b":1}'],
  ]
    .map(([id, comment, input, expected]) => valid(`escape-${id}`, comment, 'escape', input, expected))
    .concat([
      valid(
        'unicode-forms',
        'composed and decomposed are two keys',
        'unicode',
        '{"\u00e9":1,"e\u0301":2}',
        '{"e\u0301":2,"\u00e9":1}',
      ),
      valid(
        'unicode-right-to-left',
        'right to left',
        'unicode',
        '{"ש":"שלום","م":"مرحبا"}',
        '{"ש":"שלום","م":"مرحبا"}',
      ),
    ]);
}

function orders() {
  return [
    ['astral-e000', 'U+E000 before U+10000', '{"\u{10000}":1,"\ue000":2}', '{"\ue000":2,"\u{10000}":1}'],
    ['astral-ffff', 'U+FFFF before U+10000', '{"\u{10000}":1,"\uffff":2}', '{"\uffff":2,"\u{10000}":1}'],
    ['astral-ff21', 'a full-width letter before an emoji', '{"🔑":1,"Ａ":2}', '{"Ａ":2,"🔑":1}'],
    [
      'astral-d7ff',
      'U+D7FF before both',
      '{"\u{10ffff}":1,"\ue000":2,"\ud7ff":3}',
      '{"\ud7ff":3,"\ue000":2,"\u{10ffff}":1}',
    ],
    [
      'astral-inside',
      'the same after a common start',
      '{"a\u{1f511}":1,"a\uff21":2,"a":3}',
      '{"a":3,"a\uff21":2,"a\u{1f511}":1}',
    ],
    [
      'astral-both',
      'two astral characters',
      '{"\u{1f512}":1,"\u{1f511}":2}',
      '{"\u{1f511}":2,"\u{1f512}":1}',
    ],
    [
      'astral-planes',
      'astral characters of two planes',
      '{"\u{20000}":1,"\u{1ffff}":2}',
      '{"\u{1ffff}":2,"\u{20000}":1}',
    ],
    ['prefix', 'a shorter key first', '{"aa":1,"a":2,"":3,"aaa":4}', '{"":3,"a":2,"aa":1,"aaa":4}'],
    [
      'case',
      'upper case before lower case',
      '{"a":1,"B":2,"b":3,"A":4,"_":5}',
      '{"A":4,"B":2,"_":5,"a":1,"b":3}',
    ],
    ['digits', 'digits are text, not numbers', '{"10":1,"9":2,"1":3,"-1":4}', '{"-1":4,"1":3,"10":1,"9":2}'],
    ['accents', 'no language decides', '{"z":1,"ä":2,"a":3}', '{"a":3,"z":1,"ä":2}'],
    [
      'nested',
      'at every level',
      '{"b":{"d":1,"c":[{"f":1,"e":2}]},"a":0}',
      '{"a":0,"b":{"c":[{"e":2,"f":1}],"d":1}}',
    ],
  ].map(([id, comment, input, expected]) => valid(`order-${id}`, comment, 'order', input, expected));
}

function names() {
  return [
    ['proto', '{"a":1,"__proto__":{"b":2}}', '{"__proto__":{"b":2},"a":1}'],
    ['proto-null', '{"__proto__":null}', '{"__proto__":null}'],
    ['proto-value', '{"__proto__":5,"z":"__proto__"}', '{"__proto__":5,"z":"__proto__"}'],
    ['proto-nested', '{"x":[{"__proto__":{"__proto__":[]}}]}', '{"x":[{"__proto__":{"__proto__":[]}}]}'],
    [
      'constructor',
      '{"toString":1,"constructor":{"prototype":2},"hasOwnProperty":3}',
      '{"constructor":{"prototype":2},"hasOwnProperty":3,"toString":1}',
    ],
    ['to-json', '{"toJSON":"text","valueOf":null}', '{"toJSON":"text","valueOf":null}'],
    ['length', '{"length":2,"1":"b","0":"a"}', '{"0":"a","1":"b","length":2}'],
  ].map(([id, input, expected]) => valid(`name-${id}`, 'a name like any other', 'proto', input, expected));
}

function numbers() {
  return [
    ...[
      ['zero', 'zero', '0', '0'],
      ['minus-zero', 'minus zero', '-0', '0'],
      ['minus-zero-fraction', 'minus zero spelt with a fraction', '[-0.0,-0e5]', '[0,0]'],
      ['negative', 'a negative number', '-1', '-1'],
      ['largest', '2^53 - 1', '9007199254740991', '9007199254740991'],
      ['smallest', '-(2^53 - 1)', '-9007199254740991', '-9007199254740991'],
      ['exponent', 'an integer spelt with an exponent', '1e3', '1000'],
      ['exponent-plus', 'and with signs', '[1E+3,-2e2,0e0]', '[1000,-200,0]'],
      ['exponent-minus', 'a negative exponent', '5000e-3', '5'],
      ['exponent-large', '15 digits', '1e15', '1000000000000000'],
      ['fraction-zero', 'an integer spelt with a fraction', '[1.0,10.00,1.5e1]', '[1,10,15]'],
    ].map(([id, comment, input, expected]) => valid(`number-${id}`, comment, 'number', input, expected)),
    ...[
      ['over', '2^53', '9007199254740992'],
      ['over-and-one', '2^53 + 1, which many parsers round', '9007199254740993'],
      ['under', '-2^53', '-9007199254740992'],
      ['exponent-over', '10^16', '1e16'],
      ['huge', 'more than a double holds', '1e400'],
      ['huge-negative', 'the same below zero', '-1e400'],
      ['fraction', 'a fraction', '1.5'],
      ['fraction-nested', 'a fraction deep inside', '{"a":[{"b":0.1}]}'],
      ['fraction-small', 'a fraction near zero', '[5e-324]'],
      ['exponent-fraction', 'an exponent that leaves a fraction', '15e-1'],
    ].map(([id, comment, input]) => invalid(`number-${id}`, comment, 'number', input)),
  ];
}

function structures() {
  const deep = (open, close) => open.repeat(100) + close.repeat(100);
  return [
    ['object', 'an empty object', '{ }', '{}'],
    ['array', 'an empty array', '[ ]', '[]'],
    ['string', 'an empty string', '""', '""'],
    ['null', 'null', 'null', 'null'],
    ['booleans', 'booleans', '[ true , false ]', '[true,false]'],
    ['array-order', 'arrays keep their order', '[3,1,2,"b","a"]', '[3,1,2,"b","a"]'],
    [
      'mixed',
      'everything at once',
      ' { "b" : [ null , { } , [ ] , "" ] , "a" : { "c" : false } } ',
      '{"a":{"c":false},"b":[null,{},[],""]}',
    ],
    ['white-space', 'white space between and inside', '\t{\r\n"a b" :\t" c "}\n', '{"a b":" c "}'],
    ['deep-arrays', '100 arrays', deep('[', ']'), deep('[', ']')],
    [
      'deep-objects',
      '100 objects',
      `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`,
      `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`,
    ],
    ['empty-key', 'an empty key', '{"":{"":""}}', '{"":{"":""}}'],
    [
      'auth-data',
      'an auth_data as it is signed',
      '{"public_key":"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo","private_key_salt":"salt","private_key_iterations":500000,"private_key_bits":256}',
      '{"private_key_bits":256,"private_key_iterations":500000,"private_key_salt":"salt","public_key":"hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo"}',
    ],
  ].map(([id, comment, input, expected]) => valid(`structure-${id}`, comment, 'structure', input, expected));
}

function surrogates() {
  return [
    ['high', 'a high surrogate', '"\\ud800"'],
    ['low', 'a low surrogate', '"\\udfff"'],
    ['swapped', 'a pair the wrong way round', '"\\udd11\\ud83d"'],
    ['high-high', 'two high ones before a low one', '"\\ud83d\\ud83d\\udd11"'],
    ['inside', 'between letters', '"a\\ud83db"'],
    ['key', 'in a key', '{"\\ud83d":1}'],
    ['key-low', 'a low one in a key', '{"a\\udc00":1}'],
    ['nested', 'deep inside', '{"a":[{"b":"\\udbff"}]}'],
    ['key-nested', 'in a key deep inside', '[[{"\\udc00\\ud800":null}]]'],
  ].map(([id, comment, input]) => invalid(`surrogate-${id}`, comment, 'surrogate', input));
}
