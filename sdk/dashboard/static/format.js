// Numbers, times and sizes as people read them. JSON has no NaN and infinities: the server sends them as texts.

export function number(value) {
  if (value === "NaN") return NaN;
  if (value === "Infinity") return Infinity;
  if (value === "-Infinity") return -Infinity;
  return value;
}

export function formatNumber(value, digits = 4) {
  const read = number(value);
  if (read === null || read === undefined) return "–";
  if (typeof read !== "number") return String(read);
  if (Number.isNaN(read)) return "NaN";
  if (!Number.isFinite(read)) return read > 0 ? "∞" : "−∞";
  if (Number.isInteger(read) && Math.abs(read) < 1e15) return formatCount(read);
  const size = Math.abs(read);
  if (size < 1e-3 || size >= 1e6) return read.toExponential(digits - 2).replace("e+", "e").replace("-", "−");
  return read.toFixed(Math.max(0, digits - 1 - Math.max(0, Math.floor(Math.log10(size))))).replace("-", "−");
}

// A number at an axis: as short as it can be.
export function formatTick(value) {
  if (value === null) return "";
  if (Math.abs(value) >= 1e6 && Math.abs(value) < 1e12) return `${Number((value / 1e6).toPrecision(6))} M`;
  return formatNumber(value).replace(/(\.\d*?)0+(?=e|$)/, "$1").replace(/\.(?=e|$)/, "");
}

export function formatScore(value) {
  const read = number(value);
  return typeof read === "number" && Number.isFinite(read) ? read.toFixed(4).replace("-", "−") : formatNumber(value);
}

export function formatCount(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en").replace("-", "−");
}

export function formatShort(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["B", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (value >= size) return `${trim(value / size)} ${unit}`;
  }
  return String(value);
}

export function formatBytes(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (value >= size) return `${trim(value / size)} ${unit}`;
  }
  return `${value} B`;
}

const trim = (value) => (value >= 99.95 ? value.toFixed(0) : value.toFixed(1));

export function formatSeconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

export function formatAge(time, now = Date.now()) {
  if (!time) return "–";
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 86400 * 60) return `${Math.floor(seconds / 86400)} d ago`;
  return time.slice(0, 10);
}

export function formatTime(time) {
  if (!time) return "–";
  const at = new Date(time);
  const two = (part) => String(part).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

// A value of a configuration or a setting, of any kind that JSON has.
export function formatValue(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : formatNumber(value);
  return typeof value === "string" ? value : JSON.stringify(value);
}

export function plural(count, noun) {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}
