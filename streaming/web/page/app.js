/** The entry of the page. */
export {};
