"""Who is calling: from what a request carries to a credential, without a word about HTTP servers."""
