// All texts of the strip, in one place. Another language replaces this file.

export const statusNames = { new: "new", answered: "answered", corrected: "corrected", reviewed: "✓", error: "error" };
const order = ["new", "answered", "corrected", "reviewed", "error"];

export const image = (name, status) => `${name}, ${status}`;
export const place = (number, total, name) => `${number} of ${total}: ${name}`;
const counted = (count, status) => `${count} ${status}${status === "error" && count !== 1 ? "s" : ""}`;
export const countsLine = (counts) => order.filter((each) => counts[each]).map((each) => counted(counts[each], each)).join(", ");
export const kept = "This upload is on the server while the page is open, and for an hour after that. Download the folder below to keep your corrections.";
