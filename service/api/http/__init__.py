"""What every resource shares of HTTP: paths, headers, queries, bodies, problems, pages."""
