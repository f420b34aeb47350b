"""What a server meets that is exposed to strangers for long: connections that come, break off and go."""
