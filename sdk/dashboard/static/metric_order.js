// Which metrics people look at first: the loss of the training, the scores, other losses, and what is left.
const ORDER = [/^train\/loss$/, /^eval\/(?!loss)/, /loss/, /./];

const rank = (key) => ORDER.findIndex((pattern) => pattern.test(key));

export const byInterest = (one, other) => rank(one) - rank(other) || one.localeCompare(other);
