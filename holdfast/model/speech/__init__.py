"""From a recording to pictures that an encoder looks at: WAV, resampling, log-mel. numpy alone, for training and requests."""
