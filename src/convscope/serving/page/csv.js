/** The table as CSV: the columns and the bytes that `convscope predict` writes (prediction/rows.py and tables.py). */

const COLUMNS = ["path", "label", "confidence", "status", "error"];
const TAKEN = /^(?:path|label|confidence|status|error|(?:label|confidence)\p{Nd}+|class:.*)$/su;

/**
 * @param {import("./images.js").Entry[]} entries
 * @param {string[]} classes - in the order of the probabilities
 * @returns {string}
 */
export function toCsv(entries, classes) {
  // as convscope does, since older Pythons take a carriage return without quotes for the end of a line
  const hasReturns = classes.some((name) => name.includes("\r"));
  const header = [...COLUMNS, ...classes.map((name) => (TAKEN.test(name) ? `class:${name}` : name))];
  const lines = entries.map((entry) => csvLine(cellsOf(entry, classes), hasReturns || entry.path.includes("\r")));
  return csvLine(header, hasReturns) + lines.join("");
}

/** A number from 0 to 1 with six digits, as Python's `format(value, ".6g")` writes it. */
export function sixDigits(value) {
  if (value === 0) return "0";
  const [digits, power] = roundHalfEven(value).split("e");
  const exponent = Number(power);
  if (exponent < -4) return `${trim(digits)}e-${String(-exponent).padStart(2, "0")}`;
  return trim(Number(`${digits}e${power}`).toFixed(5 - exponent));
}

/** d.ddddde±n. JavaScript rounds a half up, Python to the even digit; float32 has halves in it, 13/128 is one. */
function roundHalfEven(value) {
  const exact = value.toExponential(30);
  const isEvenHalf = /^\d\.\d{4}[02468]50+e/.test(exact);
  return isEvenHalf ? exact.slice(0, 7) + exact.slice(exact.indexOf("e")) : value.toExponential(5);
}

function trim(digits) {
  return digits.replace(/\.?0+$/, "");
}

function cellsOf(entry, classes) {
  const { prediction } = entry;
  const scores = classes.map((name) => (prediction === null ? "" : sixDigits(prediction.probabilities[name])));
  const confidence = prediction === null ? "" : sixDigits(prediction.confidence);
  return [entry.path, prediction?.label ?? "", confidence, entry.state, entry.error, ...scores];
}

function csvLine(cells, isQuoted) {
  const quoted = cells.map((cell) => (isQuoted || /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell));
  return `${quoted.join(",")}\n`;
}
