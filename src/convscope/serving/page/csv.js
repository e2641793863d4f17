/** The table as CSV: the same columns and bytes as `convscope predict` (prediction/rows.py and tables.py). */

const COLUMNS = ["path", "label", "confidence", "status", "error"];
const RESERVED = /^(?:path|label|confidence|status|error|(?:label|confidence)\p{Nd}+|class:.*)$/su;

/**
 * @param {import("./images.js").Entry[]} entries
 * @param {string[]} classes - in the order of the probabilities
 * @returns {string}
 */
export function toCsv(entries, classes) {
  // as convscope does: older Pythons read a carriage return without quotes as the end of a line
  const hasReturns = classes.some((name) => name.includes("\r"));
  const header = [...COLUMNS, ...classes.map((name) => (RESERVED.test(name) ? `class:${name}` : name))];
  const lines = entries.map((entry) => toLine(toCells(entry, classes), hasReturns || entry.path.includes("\r")));
  return toLine(header, hasReturns) + lines.join("");
}

/** A number from 0 to 1 with six significant digits, as Python's `format(value, ".6g")` writes it. */
export function sixDigits(value) {
  if (value === 0) return "0";
  const [digits, power] = roundHalfEven(value).split("e");
  const exponent = Number(power);
  if (exponent < -4) return `${trimZeros(digits)}e-${String(-exponent).padStart(2, "0")}`;
  return trimZeros(Number(`${digits}e${power}`).toFixed(5 - exponent));
}

/** d.ddddde±n. JavaScript rounds halves up, Python to even; float32 values such as 13/128 are halves. */
function roundHalfEven(value) {
  const exact = value.toExponential(30);
  const isEvenHalf = /^\d\.\d{4}[02468]50+e/.test(exact);
  return isEvenHalf ? exact.slice(0, 7) + exact.slice(exact.indexOf("e")) : value.toExponential(5);
}

function trimZeros(digits) {
  return digits.replace(/\.?0+$/, "");
}

function toCells(entry, classes) {
  const { prediction } = entry;
  const probabilities = classes.map((name) => (prediction === null ? "" : sixDigits(prediction.probabilities[name])));
  const confidence = prediction === null ? "" : sixDigits(prediction.confidence);
  return [entry.path, prediction?.label ?? "", confidence, entry.state, entry.error, ...probabilities];
}

function toLine(cells, isQuoted) {
  const quoted = cells.map((cell) => (isQuoted || /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell));
  return `${quoted.join(",")}\n`;
}
