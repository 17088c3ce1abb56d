// Calls of the server. An answer is JSON; an error is an `ApiError` that says what the server said.
import { storedToken } from "./token.js";

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.type = error.type;
    this.current = error.current; // of a conflict: what it is now
    this.position = error.position; // of a query: the character
  }
}

// A path with its query; parameters that are empty are left out, lists are repeated.
export function path(base, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const item of [value].flat()) {
      if (item !== undefined && item !== null && item !== "" && item !== false) {
        query.append(name, item === true ? "1" : item);
      }
    }
  }
  const text = query.toString();
  return text ? `${base}?${text}` : base;
}

export const get = (address, options) => call("GET", address, undefined, options);
export const put = (address, body) => call("PUT", address, body);
export const post = (address, body) => call("POST", address, body);
export const remove = (address) => call("DELETE", address);

async function call(method, address, body, { signal } = {}) {
  const headers = { Accept: "application/json" };
  const token = storedToken();
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  let text;
  try {
    response = await fetch(address, { method, headers, body: JSON.stringify(body), signal });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "the server does not answer; is it still running?", type: "Unreachable" });
  }
  const answer = read(text);
  if (response.ok && answer !== undefined) return answer;
  const fallback = { message: `the server answered with status ${response.status}`, type: "HTTPError" };
  const failure = new ApiError(response.status, answer?.error ?? fallback);
  if (failure.status === 401) window.dispatchEvent(new Event("tokenneeded"));
  throw failure;
}

function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
